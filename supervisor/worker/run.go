package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"superctl/supervisor/worker/starter"
)

// Command is a short command, such as a hook: it is started as a worker is, but its end is waited
// for.
type Command struct {
	Args []string
	Env  []string
	Dir  string
	User *Credential

	Secrets Secrets // of the environment too

	Mark string // of the supervisor; see EndMarked. "" = that of the context, see WithMark

	Cgroup string // directory of the control group to be in, made already; "" = the daemon's own

	// gets what it writes there, when that is data and no text for people; nil = handed on like its
	// stderr
	Stdout *os.File
}

// grace is how long a command and what it has started have to end, from SIGTERM to SIGKILL;
// lastWords is how long its output is read when a process keeps it open after that.
const (
	grace     = 5 * time.Second
	lastWords = 2 * time.Second
)

type markKey struct{}

// WithMark returns a context whose commands carry the mark of a supervisor: when its daemon is killed, the
// next one ends them.
func WithMark(ctx context.Context, mark string) context.Context {
	return context.WithValue(ctx, markKey{}, mark)
}

func markOf(ctx context.Context) string {
	mark, _ := ctx.Value(markKey{}).(string)
	return mark
}

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
	tag, err := newTag(cmp.Or(c.Mark, markOf(ctx)) + commandTag)
	if err != nil {
		return err
	}
	reader, writer, err := newPipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	o := starter.Order{
		Path: path, Args: c.Args, Env: append(append([]string{}, c.Env...), tagVar+"="+tag), Secrets: c.Secrets,
		Dir: c.Dir, User: c.User, Cgroup: c.Cgroup,
	}
	w, err := startTo(ctx, &o, c.Stdout, writer, tag)
	_ = unix.Close(writer)
	if err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() { read <- readLines(reader, line) }()
	killed := w.awaitEnd(ctx)
	// What it has left in the background would keep the pipe open, and outlive it.
	err = w.KillAll()
	<-w.Done()
	// What has escaped even that (another session, another parent, no environment) must not hold
	// us: what the command wrote is read at once.
	err = errors.Join(err, reader.SetReadDeadline(time.Now().Add(lastWords)))
	if readErr := <-read; readErr != nil && !errors.Is(readErr, os.ErrDeadlineExceeded) {
		err = errors.Join(err, readErr)
	}
	return errors.Join(w.failure(killed), err)
}

// failure returns why a command that has ended did not succeed: that it was killed, or its exit.
func (w *Worker) failure(killed error) error {
	if killed == nil && (w.exit.Signal != 0 || w.exit.Code != 0) {
		return &ExitError{w.exit}
	}
	return killed
}

// newPipe returns a pipe whose reader takes no thread while it waits.
func newPipe() (reader *os.File, writer int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("pipe: %w", err)
	}
	if reader, err = nonblocking(pipe[0]); err != nil {
		return nil, -1, errors.Join(err, unix.Close(pipe[0]), unix.Close(pipe[1]))
	}
	return reader, pipe[1], nil
}

// readLines hands on each line of a pipe until it is closed.
func readLines(reader *os.File, line func(string)) error {
	s := splitter{emit: func(l Line) { line(string(l.Text)) }}
	_, err := io.Copy(writerFunc(s.write), reader)
	s.flush()
	return err
}

// awaitEnd waits for the end of a command. When ctx ends first it asks the command to end, and
// returns the cause.
func (w *Worker) awaitEnd(ctx context.Context) (killed error) {
	select {
	case <-w.Done():
		return nil
	case <-ctx.Done():
		w.askToEnd()
		return context.Cause(ctx)
	}
}

// startTo starts a command whose stdout is a file, when it is one, and else its stderr.
func startTo(ctx context.Context, o *starter.Order, stdout *os.File, stderr int, tag string) (w *Worker, err error) {
	if stdout == nil {
		return start(ctx, o, stderr, stderr, nil, tag)
	}
	raw, err := stdout.SyscallConn()
	if err != nil {
		return nil, err
	}
	if gone := raw.Control(func(fd uintptr) { w, err = start(ctx, o, int(fd), stderr, nil, tag) }); gone != nil {
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
