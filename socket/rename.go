package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/plain"
)

// rename is the gate for unix sockets. Each generation has its own listener at PATH.gN, and the
// public PATH is a hard link to the live one. rename(2) replaces the link atomically, so that every
// connect finds one of the two.
type rename struct {
	text    string
	path    string
	perm    permissions
	backlog int
	earlier func(pid int) bool
	replace func(cookie uint64) bool

	watch *watch // reports that a path was removed or a listener shut down

	mu   sync.Mutex
	fds  map[int]int
	live int
}

func newRename(o *Options, perm permissions) *rename {
	return &rename{
		text: o.Address.text, path: o.Address.path, perm: perm, backlog: o.Backlog,
		earlier: o.Earlier, replace: o.replaces, fds: map[int]int{}, watch: newWatch(o.Address.path),
	}
}

func (r *rename) Kind() string    { return kindRename }
func (r *rename) Address() string { return r.text }

// generationPath returns the path of a generation's own listener.
func (r *rename) generationPath(gen int) string { return r.path + ".g" + strconv.Itoa(gen) }

func (r *rename) Stage(gen int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if gen <= 0 {
		return fmt.Errorf("generation %d: generations are counted from 1", gen)
	}
	if _, ok := r.fds[gen]; ok {
		return fmt.Errorf("generation %d has a listener on %s already", gen, r.text)
	}
	fd, err := r.stage(gen)
	if err != nil {
		return fmt.Errorf("stage generation %d: %w", gen, err)
	}
	r.fds[gen] = fd
	r.watch.add(fd)
	return nil
}

func (r *rename) stage(gen int) (int, error) {
	r.mend()
	if err := r.checkReplaceable(); err != nil {
		return -1, err
	}
	r.removeStaleSockets()
	if err := removeStale(r.generationPath(gen)); err != nil {
		return -1, err
	}
	return listenUnix(r.generationPath(gen), r.perm, r.backlog)
}

// checkReplaceable returns an error unless the gate may replace the public path. It may if the path
// does not exist, or is a socket of ours, of an earlier daemon, or without a listener.
func (r *rename) checkReplaceable() error {
	who, err := findOccupant(r.path)
	if err != nil || who == nil {
		return err
	}
	if r.ours(who.file) || r.replace(who.cookie) || heldByEarlier(who.holders, r.earlier) {
		return nil
	}
	return inUse(r.text, who.uid, who.holders)
}

// ours reports whether file is that of one of our listeners.
func (r *rename) ours(file fs.FileInfo) bool {
	st, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	id := fileID{unix.Major(st.Dev)<<20 | unix.Minor(st.Dev), uint32(st.Ino)}
	for gen, fd := range r.fds {
		if own, known := fileOf(fd); known && own == id {
			return true
		}
		if own, err := os.Lstat(r.generationPath(gen)); err == nil && os.SameFile(own, file) {
			return true
		}
	}
	return false
}

// removeStaleSockets removes the sockets that generations of a dead daemon left next to the public
// path. It keeps those that still listen.
func (r *rename) removeStaleSockets() {
	entries, err := os.ReadDir(filepath.Dir(r.path))
	if err != nil {
		return // Stage reports the error more clearly
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), filepath.Base(r.path)+".g")
		gen, err := strconv.Atoi(number)
		if !ok || err != nil || e.Type() != fs.ModeSocket {
			continue
		}
		if _, mine := r.fds[gen]; !mine {
			_ = removeStale(r.generationPath(gen)) // best effort: a stale socket does no harm
		}
	}
}

func (r *rename) FD(gen int) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fd(gen)
}

func (r *rename) fd(gen int) (int, error) {
	fd, ok := r.fds[gen]
	if !ok {
		return -1, fmt.Errorf("generation %d has no listener on %s", gen, r.text)
	}
	return fd, nil
}

// Dial connects to the generation's own path. The public path of the live generation leads to the
// same socket.
func (r *rename) Dial(ctx context.Context, gen int) (net.Conn, error) {
	if _, err := r.FD(gen); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.generationPath(gen))
	if errors.Is(err, fs.ErrNotExist) {
		r.Mend()
		conn, err = d.DialContext(ctx, "unix", r.generationPath(gen))
	}
	if err != nil {
		return nil, fmt.Errorf("dial generation %d: %w", gen, err)
	}
	return conn, nil
}

func (r *rename) Relisten(gen int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd, err := r.fd(gen)
	if err != nil {
		return err
	}
	return relisten(fd, r.backlog)
}

func (r *rename) Spread(gens []int) error { return onlyOne(gens, r.Cutover) }

func (r *rename) Cutover(gen int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.fd(gen); err != nil {
		return err
	}
	r.mendOwn(gen)
	if err := publish(r.generationPath(gen), r.path); err != nil {
		return fmt.Errorf("cut over to generation %d: %w", gen, err)
	}
	r.live = gen
	return nil
}

// publish makes path a link to own, atomically.
func publish(own, path string) error {
	if err := mustBeSocket(path); err != nil {
		return err
	}
	next := own + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(own, next); err != nil {
		return err
	}
	// If both already link to the same file, rename(2) does nothing and leaves next behind.
	return errors.Join(os.Rename(next, path), ignoreMissing(os.Remove(next)))
}

// Settle only waits for the accept queue, because a unix socket has no handshake. connect puts a
// connection into the queue of the socket that the path leads to, in one step. A connect that waits
// for room looks up the path again (net/unix/af_unix.c, unix_stream_connect, restart).
func (r *rename) Settle(ctx context.Context, gen int) (Settled, error) {
	if gen == r.Live() {
		return Settled{}, fmt.Errorf("generation %d is live: its queue is not going to be empty", gen)
	}
	return settle(ctx, time.Now(), settleChecks, func() (int, error) {
		queued, _, err := r.Queue(gen)
		return queued, err
	})
}

// Close removes the generation's own path, and the public path if it leads to the same socket. A worker
// that has closed its listener while no daemon ran has left a path that no generation owns; that goes too.
func (r *rename) Close(gen int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd, err := r.fd(gen)
	if err != nil {
		return err
	}
	queued, _, _ := unixQueueOf(fd)
	r.watch.remove(fd)
	err = r.unlink(gen)
	if closeErr := unix.Close(fd); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close listener: %w", closeErr))
	}
	delete(r.fds, gen)
	r.removeStaleSockets()
	if r.live == gen {
		r.live = 0
	}
	if queued > 0 {
		err = errors.Join(err,
			fmt.Errorf("%s still queued for generation %d: reset", plain.Count(queued, "connection was", "connections were"), gen))
	}
	return err
}

func (r *rename) unlink(gen int) (err error) {
	public, publicErr := os.Lstat(r.path)
	own, ownErr := os.Lstat(r.generationPath(gen))
	if publicErr == nil && ownErr == nil && os.SameFile(public, own) {
		err = r.unpublish()
	}
	return errors.Join(err, ignoreMissing(os.Remove(r.generationPath(gen))))
}

// unpublish removes the public path, or gives it back to the server that the app was to replace.
func (r *rename) unpublish() error {
	if who, err := findOccupant(keptPath(r.path)); err == nil && who != nil && r.replace(who.cookie) {
		return os.Rename(keptPath(r.path), r.path)
	}
	return ignoreMissing(os.Remove(r.path))
}

func (r *rename) Live() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live
}

func (r *rename) Queue(gen int) (length, limit int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd, err := r.fd(gen)
	if err != nil {
		return 0, 0, err
	}
	return unixQueueOf(fd)
}

func (r *rename) Connections(gen int, pids []int) (int, error) {
	return unixConnections(r.generationPath(gen), pids)
}

// Unanswered counts all connections: the kernel does not tell what was sent on a unix socket.
func (r *rename) Unanswered(gen int, pids []int) (int, error) { return r.Connections(gen, pids) }

// Adopt takes over a listener. Mend restores its path if that was removed meanwhile.
func (r *rename) Adopt(gen, fd int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	unix.CloseOnExec(fd)
	err := r.adoptable(gen, fd)
	if err != nil {
		return errors.Join(fmt.Errorf("adopt the listener of generation %d: %w", gen, err), unix.Close(fd))
	}
	r.fds[gen] = fd
	r.watch.add(fd)
	return nil
}

// Locate does nothing: unix sockets are in no group.
func (r *rename) Locate([]int) error { return nil }

func (r *rename) adoptable(gen, fd int) error {
	if _, ok := r.fds[gen]; ok {
		return errors.New("it has one already")
	}
	if name, err := unixName(fd); err != nil || name != r.generationPath(gen) {
		return fmt.Errorf("it is bound to %q, not to %q", name, r.generationPath(gen))
	}
	if !listens(fd) {
		return errors.New("it does not listen any more")
	}
	return nil
}

func (r *rename) Members() (list []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for gen, fd := range r.fds {
		list = append(list, Member{Gen: gen, FD: fd})
	}
	return list
}

// Foreign returns 1 if the public path leads to a listener that is not ours.
func (r *rename) Foreign() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if who, err := findOccupant(r.path); err != nil || who == nil || r.ours(who.file) {
		return 0
	}
	return 1
}

func (r *rename) Canary(_, share int, networks []netip.Prefix) error {
	return noCanary(r.text, share, networks)
}

func noCanary(text string, share int, networks []netip.Prefix) error {
	if share == 0 && len(networks) == 0 {
		return nil
	}
	return fmt.Errorf(
		"%s: only TCP listeners that the daemon binds itself can send a part of the connections to another generation",
		text)
}
