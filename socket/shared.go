package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// shared is one listener for all generations, which accept from one queue. It is for sockets passed
// by systemd, whose group the daemon cannot join, and for kernels without the filter. It decides
// nothing: a new connection reaches the worker that accepts first. So a release must be proved
// before it starts on the shared listener: on a private gate, which is the same mechanism at an
// address that no client knows.
type shared struct {
	kind    string
	text    string // the address until the listener is bound
	backlog int
	bind    func(s *shared) (*sharedListener, error)
	remove  func() error // what else to do when an adopted listener is closed

	watch *watch // reports that a worker shut down the listener

	mu       sync.Mutex
	listener *sharedListener // nil until the first Stage
	gens     map[int]bool
	live     int
}

// sharedListener describes a bound listener.
type sharedListener struct {
	fd      int
	network string         // for the dialer
	targets []string       // addresses to dial; the first that exists on this machine is used
	at      netip.AddrPort // of TCP: the bound address
	name    string         // of unix: the bound path, which is also the name of its connections
	address string         // the address in the notation of the config
	remove  func() error   // what else to do when the listener is closed
}

func newShared(o *Options, kind string, bind func(*shared) (*sharedListener, error)) *shared {
	return &shared{
		kind: kind, text: o.Address.text, backlog: o.Backlog, bind: bind, remove: noCleanup,
		gens: map[int]bool{}, watch: newWatch(""),
	}
}

func noCleanup() error { return nil }

func newSharedTCP(o *Options, at netip.AddrPort) *shared {
	return newShared(o, kindShared, func(s *shared) (*sharedListener, error) {
		if _, err := foreignListeners(at, s.text, nil, knownByHolders(o.Earlier)); err != nil {
			return nil, err
		}
		fd, err := listenTCP(at, o.Backlog)
		if err != nil {
			return nil, err
		}
		return describe(fd, s.text)
	})
}

func newSharedUnix(o *Options, perm permissions) *shared {
	r := newRename(o, perm)
	remove := func() error { return r.unlink(0) }
	s := newShared(o, kindShared, func(s *shared) (*sharedListener, error) {
		if err := r.checkReplaceable(); err != nil {
			return nil, err
		}
		own := r.generationPath(0)
		if err := removeStale(own); err != nil {
			return nil, err
		}
		fd, err := listenUnix(own, perm, o.Backlog)
		if err != nil {
			return nil, err
		}
		if err := publish(own, r.path); err != nil {
			return nil, errors.Join(err, os.Remove(own), unix.Close(fd))
		}
		l, err := describe(fd, s.text)
		if err == nil {
			l.remove = remove
		}
		return l, err
	})
	s.remove = remove
	return s
}

// newSharedInherited duplicates the descriptor for each bind. The set keeps the original, so that a
// gate that was closed can be staged again.
func newSharedInherited(o *Options) (*shared, error) {
	if _, err := o.Inherited.find(o.Address); err != nil {
		return nil, err
	}
	return newShared(o, kindShared, func(s *shared) (*sharedListener, error) {
		fd, err := o.Inherited.find(o.Address)
		if err != nil {
			return nil, err
		}
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return nil, fmt.Errorf("duplicate descriptor: %w", err)
		}
		// systemd clears O_NONBLOCK on the descriptors that it passes, unless the unit has
		// NonBlocking=yes.
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
		return describe(fd, s.text)
	}), nil
}

func newPrivateTCP(o *Options, ip netip.Addr) *shared {
	return newShared(o, kindPrivate, func(*shared) (*sharedListener, error) {
		fd, err := listenTCP(netip.AddrPortFrom(ip, 0), o.Backlog)
		if err != nil {
			return nil, err
		}
		return describe(fd, boundText(fd))
	})
}

// newPrivateUnix makes the socket in a directory that only the daemon's user may enter. Workers
// inherit the descriptor and need no access.
func newPrivateUnix(o *Options) *shared {
	return newShared(o, kindPrivate, func(*shared) (*sharedListener, error) {
		dir, err := os.MkdirTemp(o.PrivateDir, "private-")
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, "s")
		fd, err := listenUnix(path, permissions{mode: 0o600, uid: -1, gid: -1}, o.Backlog)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		l, err := describe(fd, "unix:"+path)
		if err == nil {
			l.remove = func() error { return os.RemoveAll(dir) }
		}
		return l, err
	})
}

// describe returns the description of a listener, and closes it on failure.
func describe(fd int, address string) (*sharedListener, error) {
	l := &sharedListener{fd: fd, address: address, remove: noCleanup}
	if name, err := unixName(fd); err == nil {
		l.network, l.name, l.targets = "unix", name, []string{name}
		return l, nil
	}
	at, err := boundTo(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	l.network, l.at = "tcp", at
	for _, target := range dialTargets(at) {
		l.targets = append(l.targets, target.String())
	}
	return l, nil
}

func (s *shared) Kind() string { return s.kind }

// Address returns the address of a private gate from the first Stage on.
func (s *shared) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return s.listener.address
	}
	return s.text
}

func (s *shared) Stage(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gen <= 0 {
		return fmt.Errorf("generation %d: generations are counted from 1", gen)
	}
	if s.gens[gen] {
		return fmt.Errorf("generation %d has a listener on %s already", gen, s.text)
	}
	if s.listener == nil {
		l, err := s.bind(s)
		if err != nil {
			return fmt.Errorf("stage generation %d: %w", gen, err)
		}
		s.listener = l
		s.watch.add(l.fd)
	}
	s.gens[gen] = true
	return nil
}

func (s *shared) FD(gen int) (int, error) {
	l, err := s.listenerOf(gen)
	if err != nil {
		return -1, err
	}
	return l.fd, nil
}

func (s *shared) listenerOf(gen int) (*sharedListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listenerLocked(gen)
}

func (s *shared) listenerLocked(gen int) (*sharedListener, error) {
	if !s.gens[gen] {
		return nil, fmt.Errorf("generation %d has no listener on %s", gen, s.text)
	}
	return s.listener, nil
}

// Dial reaches any generation: all accept from one queue.
func (s *shared) Dial(ctx context.Context, gen int) (conn net.Conn, err error) {
	l, err := s.listenerOf(gen)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	for _, target := range l.targets {
		conn, err = d.DialContext(ctx, l.network, target)
		if !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EAFNOSUPPORT) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", s.kind, err)
	}
	return conn, nil
}

func (s *shared) Relisten(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.listenerLocked(gen)
	if err != nil {
		return err
	}
	return relisten(l.fd, s.backlog)
}

// Cutover only records the generation: all share the queue.
func (s *shared) Cutover(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.listenerLocked(gen); err != nil {
		return err
	}
	s.live = gen
	return nil
}

func (s *shared) Spread(gens []int) error { return onlyOne(gens, s.Cutover) }

// onlyOne implements Spread for gates that cannot spread.
func onlyOne(gens []int, cutover func(gen int) error) error {
	if len(gens) != 1 {
		return fmt.Errorf("connections cannot be spread over %d generations here", len(gens))
	}
	return cutover(gens[0])
}

// Settle does not wait: the live generation accepts what is queued.
func (s *shared) Settle(_ context.Context, gen int) (Settled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.listenerLocked(gen); err != nil {
		return Settled{}, err
	}
	if gen == s.live {
		return Settled{}, fmt.Errorf("generation %d is live", gen)
	}
	return Settled{}, nil
}

func (s *shared) Close(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.listenerLocked(gen)
	if err != nil {
		return err
	}
	delete(s.gens, gen)
	if s.live == gen {
		s.live = 0
	}
	if len(s.gens) > 0 {
		return nil
	}
	s.listener = nil
	s.watch.remove(l.fd)
	return errors.Join(l.remove(), unix.Close(l.fd))
}

func (s *shared) Live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

func (s *shared) Queue(gen int) (length, limit int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.listenerLocked(gen)
	if err != nil {
		return 0, 0, err
	}
	if l.network == "unix" {
		return unixQueueOf(l.fd)
	}
	return tcpQueue(l.fd)
}

func (s *shared) Connections(gen int, pids []int) (int, error) {
	l, err := s.listenerOf(gen)
	if err != nil {
		return 0, err
	}
	if l.network == "unix" {
		return unixConnections(l.name, pids)
	}
	return tcpConnections(l.at, pids)
}

// Unanswered counts as the gate of the listener's network would if it were not shared.
func (s *shared) Unanswered(gen int, pids []int) (int, error) {
	l, err := s.listenerOf(gen)
	if err != nil {
		return 0, err
	}
	if l.network == "unix" {
		return unixConnections(l.name, pids)
	}
	return tcpUnanswered(l.at, pids)
}

// Adopt takes over the listener; further descriptors are copies of it, which Adopt closes.
func (s *shared) Adopt(gen, fd int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unix.CloseOnExec(fd)
	if !listens(fd) || s.gens[gen] {
		return errors.Join(
			fmt.Errorf("adopt the listener of generation %d: it has one already, or this one does not listen", gen),
			unix.Close(fd))
	}
	s.gens[gen] = true
	if s.listener != nil {
		return unix.Close(fd)
	}
	l, err := describe(fd, s.text)
	if err != nil {
		delete(s.gens, gen)
		return err
	}
	l.remove = s.remove
	s.listener = l
	s.watch.add(l.fd)
	return nil
}

// Locate does nothing: there is one listener.
func (s *shared) Locate([]int) error { return nil }

// Members returns the listener once for each generation.
func (s *shared) Members() (list []Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for gen := range s.gens {
		list = append(list, Member{Gen: gen, FD: s.listener.fd})
	}
	return list
}

// Foreign returns 0: other processes that accept from a shared queue cannot be identified.
func (s *shared) Foreign() int { return 0 }

// Canary returns an error unless it ends a canary.
func (s *shared) Canary(_, share int, networks []netip.Prefix) error {
	return noCanary(s.text, share, networks)
}
