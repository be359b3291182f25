package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a short command, such as a hook: it is started as a worker is, but its end is waited
// for.
type Command struct {
	Args []string
	Env  []string
	Dir  string
	User *Credential

	Secrets Secrets // of the environment too

	Mark string // of the supervisor; see EndMarked

	Cgroup string // directory of the control group to be in, made already; "" = the daemon's own

	// gets what it writes there, when that is data and no text for people; nil = handed on like its
	// stderr
	Stdout *os.File
}

// grace is how long a command and what it has started have to end, from SIGTERM to SIGKILL;
// lastWords is how long its output is read when somebody keeps it open after that.
const (
	grace     = 5 * time.Second
	lastWords = 2 * time.Second
)

// Run runs a command to its end, and hands on each line that it writes. When ctx ends, all that it
// has started is asked to end, and then killed. The error is nil only after exit code 0.
func Run(ctx context.Context, c Command, line func(string)) error {
	if len(c.Args) == 0 {
		return errors.New("the command is empty")
	}
	path, err := LookPath(c.Args[0], c.Env, c.Dir)
	if err != nil {
		return err
	}
	tag, err := newTag(c.Mark + commandTag)
	if err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	reader, err := nonblocking(pipe[0])
	if err != nil {
		return errors.Join(err, unix.Close(pipe[0]), unix.Close(pipe[1]))
	}
	defer reader.Close()
	o := order{
		Path: path, Args: c.Args, Env: append(append([]string{}, c.Env...), tagVar+"="+tag), Secrets: c.Secrets,
		Dir: c.Dir, User: c.User, Cgroup: c.Cgroup,
	}
	w, err := o.startTo(c.Stdout, pipe[1], tag)
	_ = unix.Close(pipe[1])
	if err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() {
		s := splitter{emit: func(l Line) { line(string(l.Text)) }}
		_, err := io.Copy(writerFunc(s.write), reader)
		s.flush()
		read <- err
	}()
	var killed error
	select {
	case <-w.Done():
	case <-ctx.Done():
		killed = context.Cause(ctx)
		w.askToEnd()
	}
	// What it has left in the background would keep the pipe open, and outlive it.
	err = w.KillAll()
	<-w.Done()
	// What has escaped even that (another session, another parent, no environment) must not hold
	// us: what the command wrote is read at once.
	err = errors.Join(err, reader.SetReadDeadline(time.Now().Add(lastWords)))
	if readErr := <-read; readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
		err = errors.Join(err, readErr)
	}
	switch {
	case killed != nil:
		return errors.Join(killed, err)
	case w.exit.Signal != 0 || w.exit.Code != 0:
		return errors.Join(&ExitError{w.exit}, err)
	}
	return err
}

// startTo starts a command whose stdout is a file, when it is one, and else its stderr.
func (o *order) startTo(stdout *os.File, stderr int, tag string) (w *Worker, err error) {
	if stdout == nil {
		return o.start(stderr, stderr, nil, tag)
	}
	raw, err := stdout.SyscallConn()
	if err != nil {
		return nil, err
	}
	if gone := raw.Control(func(fd uintptr) { w, err = o.start(int(fd), stderr, nil, tag) }); gone != nil {
		return nil, gone
	}
	return w, err
}

// askToEnd sends SIGTERM to all that the command has started, as Ctrl-C in a shell would, and gives
// it time to undo what it is at.
func (w *Worker) askToEnd() {
	await(signalFamily(w.root(), unix.SIGTERM), time.Now().Add(grace))
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func nonblocking(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pipe"), nil
}
