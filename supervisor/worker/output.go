package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pipeSize = 1 << 20  // what a worker can write before it waits for a daemon that is away; fs.pipe-max-size's default
	lineSize = 64 << 10 // a longer line is handed on in parts
)

// Line is one line that a worker wrote, without its newline, or a part of one that was too long.
type Line struct {
	Text    []byte // valid during the call only
	Partial bool   // the line goes on
}

// Output is the FIFO that a worker's stdout and stderr lead to. The worker has it open for reading
// too, so that it neither meets EPIPE nor loses a byte while no daemon reads, and the next daemon
// opens it by its path and goes on (fifo(7): the data lives as long as anybody has the FIFO open).
type Output struct {
	path string
	file *os.File

	mu    sync.Mutex // guards what is below, and is held while lines are handed on
	split splitter   // without OnLine, nothing is read
}

// buffers are for reading: every output has none of its own, since of a thousand workers only a few
// write at a time.
var buffers = sync.Pool{New: func() any { return new([lineSize]byte) }} //nolint:gochecknoglobals // a pool is for all

// OpenOutput makes the FIFO, or opens the one that an earlier daemon has left at that path. user
// may open it by /dev/stdout.
func OpenOutput(path string, user *Credential) (*Output, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make output pipe %s: %w", path, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open output pipe %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, errors.Join(fmt.Errorf("output pipe %s is no FIFO", path), err, unix.Close(fd))
	}
	if user != nil && os.Geteuid() == 0 {
		if err := unix.Fchown(fd, int(user.UID), int(user.GID)); err != nil {
			return nil, errors.Join(fmt.Errorf("give output pipe to its user: %w", err), unix.Close(fd))
		}
	}
	// Above fs.pipe-user-pages-soft an ordinary user gets less: then it is less.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize)
	return &Output{path: path, file: os.NewFile(uintptr(fd), path)}, nil
}

// OnLine says who is handed the lines. Until then they stay in the pipe. line must be quick: the worker waits
// for it when the pipe is full.
func (o *Output) OnLine(line func(Line)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.split.emit = line
}

// Run hands on line after line until ctx ends, and then what is there without waiting for more. It
// may be called again.
func (o *Output) Run(ctx context.Context) error {
	raw, err := o.file.SyscallConn()
	if err == nil {
		err = o.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", o.path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = o.file.SetReadDeadline(time.Now()) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool {
		o.read(int(fd))
		return false // until the deadline: a FIFO that we have open for writing too never ends
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read %s: %w", o.path, err)
	}
	return o.Drain()
}

// Drain hands on what has been written until now, the beginning of a last line too. It may be
// called before Run and while it runs: after the end of a worker its last words are there when Drain returns.
func (o *Output) Drain() error {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { o.read(int(fd)) }); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.split.flush()
	return nil
}

// read takes what is in the pipe now.
func (o *Output) read(fd int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.split.emit == nil {
		return
	}
	buf := buffers.Get().(*[lineSize]byte) // by its New
	defer buffers.Put(buf)
	for {
		n, err := unix.Read(fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			return // EAGAIN
		}
		o.split.write(buf[:n])
	}
}

// Descriptor hands the descriptor to f, which must not keep it. While anybody has it open, what was
// written stays.
func (o *Output) Descriptor(f func(fd int) error) error { return control(o.file, f) }

// Close closes the FIFO and removes it.
func (o *Output) Close() error {
	err := os.Remove(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(o.file.Close(), err)
}

// splitter cuts what it is given into lines.
type splitter struct {
	emit func(Line)
	held []byte
}

func (s *splitter) write(p []byte) {
	for len(p) > 0 {
		text, rest, whole := bytes.Cut(p, []byte{'\n'})
		if room := lineSize - len(s.held); len(text) > room {
			s.held = append(s.held, text[:room]...)
			s.emit(Line{Text: s.held, Partial: true})
			s.held = nil
			p = p[room:]
			continue
		}
		if !whole {
			s.held = append(s.held, text...)
			return
		}
		if len(s.held) > 0 {
			s.held = append(s.held, text...)
			text = s.held
		}
		s.emit(Line{Text: bytes.TrimSuffix(text, []byte{'\r'})})
		s.held = nil
		p = rest
	}
}

// flush hands on a last line that has no newline.
func (s *splitter) flush() {
	if len(s.held) > 0 {
		s.emit(Line{Text: s.held})
		s.held = nil
	}
}
