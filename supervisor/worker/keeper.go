package worker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/plain"
	"superctl/proc"
	"superctl/supervisor/worker/starter"
)

// KeeperArg is the hidden first argument with which superctl re-executes itself to become a keeper.
const KeeperArg = "__keep"

// A keeper sees to it that workers whose daemon is dead are not blocked by their own output: a pipe
// without a reader is full after 1 MiB, and the next write waits for ever. While the daemon lives
// the keeper sleeps in a read that only the end of the daemon ends. Then it makes room in each pipe
// that is nearly full: the oldest lines are dropped, and the newest are still there for the next
// daemon, which ends the keeper as it ends all that it does not know of (see EndMarked). When no
// worker is left that could write, it ends by itself. Its death matters only while no daemon is
// there.

const (
	keepFull = 3 // a pipe is nearly full when three quarters of it
	keepOf   = 4 // are; then a quarter is dropped
)

// keeperEnd is how long a keeper that has nothing to keep may take to end.
const keeperEnd = time.Second

// Keeper is a keeper that runs.
type Keeper struct {
	hold *os.File // its end, which the kernel brings about with the daemon's, is what the keeper waits for
	w    *Worker
}

// Release has the keeper look after the pipes: from now on no other process reads them.
func (k *Keeper) Release() error {
	if k == nil {
		return nil
	}
	return k.hold.Close()
}

// End ends the keeper.
func (k *Keeper) End() error {
	if k == nil {
		return nil
	}
	err := errors.Join(k.w.Signal(unix.SIGKILL), k.hold.Close())
	select {
	case <-k.w.Done():
	case <-time.After(keeperEnd):
		err = errors.Join(err, fmt.Errorf("the keeper (pid %d) does not end", k.w.PID()))
	}
	return err
}

// StartKeeper starts a keeper of the pipes in dir. It carries the supervisor's mark.
func StartKeeper(dir, mark string) (*Keeper, error) {
	tag, err := newTag(mark)
	if err != nil {
		return nil, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	hold := os.NewFile(uintptr(pipe[1]), "keeper")
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", os.DevNull, err), hold.Close())
	}
	defer unix.Close(null)
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{tagVar + "=" + tag, "GOMAXPROCS=1", "GOGC=20"},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(pipe[0])},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}
	pid, err := fork(ofHouse, proc.SelfExe, []string{"superctl", KeeperArg, dir}, attr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fork: %w", err), hold.Close())
	}
	w, err := newWorker(pid, pidfd, tag, "", true)
	if err != nil {
		return nil, errors.Join(err, hold.Close())
	}
	w.letGo() // it starts nothing
	return &Keeper{hold, w}, nil
}

// Keep is what a keeper does.
func Keep(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "superctl: "+KeeperArg+" is for superctl's own use")
		return 2
	}
	debug.FreeOSMemory()
	buf := make([]byte, 1)
	for {
		if n, err := unix.Read(starter.FirstFD, buf); n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err := keepRoom(args[0]); err != nil {
		return 1
	}
	return 0
}

// keepRoom makes room in the pipes of a directory until no process can write to one any more.
func keepRoom(dir string) error {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	defer unix.Close(poll)
	pipes, err := openPipes(poll, dir)
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 16)
	for len(pipes) > 0 {
		n, err := unix.EpollWait(poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			p := pipes[e.Fd]
			if p == nil {
				continue
			}
			p.makeRoom()
			if e.Events&unix.EPOLLHUP != 0 {
				_ = unix.Close(p.fd)
				delete(pipes, e.Fd)
			}
		}
	}
	return nil
}

// openPipes opens the pipes of a directory and adds them to poll. It returns them by their
// descriptors.
func openPipes(poll int, dir string) (map[int32]*keptPipe, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "g*"))
	if err != nil {
		return nil, err
	}
	pipes := make(map[int32]*keptPipe)
	for _, path := range paths {
		fd, err := openKept(path)
		if err != nil {
			continue // its worker has ended
		}
		// An event comes at each write, and none as long as there is something to read.
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
			Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(fd),
		}); err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
		pipes[int32(fd)] = &keptPipe{path: path, fd: fd}
	}
	return pipes, nil
}

// openKept opens a pipe for reading only: so its reader is told of the end of the last writer.
func openKept(path string) (fd int, err error) {
	const flags = unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err = unix.Open(path, unix.O_RDONLY|flags, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		_ = unix.Close(fd)
		return -1, cmp.Or(err, error(unix.EINVAL))
	}
	// A FIFO tells of the end of its writers only when it has had one since it was opened
	// (fs/pipe.c, pipe_poll).
	if writer, err := unix.Open(path, unix.O_WRONLY|flags, 0); err == nil {
		_ = unix.Close(writer)
	}
	return fd, nil
}

type keptPipe struct {
	path        string
	fd          int
	lost, noted int // lines that were dropped, and of how many of them a note tells
}

// makeRoom drops the oldest quarter of a pipe that is nearly full, and leaves a note of how many
// lines were dropped so far.
func (p *keptPipe) makeRoom() {
	size, err := unix.FcntlInt(uintptr(p.fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return
	}
	buf := make([]byte, size/keepOf)
	for {
		held, err := unix.IoctlGetInt(p.fd, unix.TIOCINQ)
		if err != nil || held < size*keepFull/keepOf && !p.blocked() {
			break
		}
		n, err := unix.Read(p.fd, buf)
		if n <= 0 || err != nil {
			break
		}
		p.lost += bytes.Count(buf[:n], []byte{'\n'})
	}
	if p.lost > p.noted {
		p.note()
	}
}

// blocked reports whether a write would wait: small writes fill a pipe's buffers, one each, before
// they fill its bytes.
func (p *keptPipe) blocked() bool {
	fd, err := unix.Open(p.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	room := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(room, 0)
	return err == nil && n == 0
}

// note is read by the next daemon, among the newest lines.
func (p *keptPipe) note() {
	fd, err := unix.Open(p.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	text := fmt.Sprintf("superctl: %s dropped while no daemon read them\n", plain.Count(p.lost, "line was", "lines were"))
	if _, err := unix.Write(fd, []byte(text)); err == nil {
		p.noted = p.lost
	}
}
