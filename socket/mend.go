package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Mended is the result of Mend.
type Mended struct {
	Said []string // what was wrong, one sentence each; Mend repaired all of it, except for the generations in Lost
	Lost []int    // generations whose listener clients can no longer reach, and that cannot be repaired
}

func (m *Mended) say(format string, args ...any) {
	m.Said = append(m.Said, fmt.Sprintf(format, args...))
}

// Mend makes listeners that workers have shut down listen again, with our backlog and O_NONBLOCK.
func (s *steer) Mend() (m Mended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recount()
	for _, gen := range s.generations() {
		if err := s.relisten(gen); err != nil {
			m.say("%v", err)
		}
	}
	return m
}

func (s *steer) generations() (list []int) {
	for _, m := range slices.Concat(s.group, s.shutDown) {
		if m.gen != 0 {
			list = append(list, m.gen)
		}
	}
	return list
}

// Watch calls changed after each change that another process makes to a listener.
func (s *steer) Watch(ctx context.Context, changed func()) error { return s.watch.run(ctx, changed) }

// Mend restores paths that were removed or replaced.
func (r *rename) Mend() Mended {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mend()
}

func (r *rename) mend() (m Mended) {
	for gen, fd := range r.fds {
		switch {
		case isShutDown(fd):
			m.say("a worker of generation %d has shut down its listener on %s", gen, r.text)
			m.Lost = append(m.Lost, gen)
			continue
		case !r.mendOwn(gen):
			m.say("the paths of generation %d on %s were removed", gen, r.text)
			m.Lost = append(m.Lost, gen)
			continue
		}
		if err := relisten(fd, r.backlog); err != nil {
			m.say("%v", err)
		}
	}
	if fd, ok := r.fds[r.live]; ok && !LeadsTo(r.path, fd) && LeadsTo(r.generationPath(r.live), fd) {
		r.mendPublic(&m)
	}
	return m
}

// mendOwn links a generation's own path to its socket again, using the public path. It reports
// whether the own path leads to the socket.
func (r *rename) mendOwn(gen int) bool {
	fd, own := r.fds[gen], r.generationPath(gen)
	if LeadsTo(own, fd) {
		return true
	}
	if !LeadsTo(r.path, fd) || mustBeSocket(own) != nil {
		return false
	}
	next := own + ".next"
	_ = os.Remove(next)
	return os.Link(r.path, next) == nil && os.Rename(next, own) == nil && LeadsTo(own, fd)
}

// mendPublic makes the public path lead to the live generation again.
func (r *rename) mendPublic(m *Mended) {
	what := "was removed"
	if who, err := findOccupant(r.path); err == nil && who != nil {
		if r.replace(who.cookie) {
			return // the takeover was given up
		}
		what = "was taken by " + inUse(r.text, who.uid, who.holders).who
	} else if _, err := os.Lstat(r.path); !errors.Is(err, fs.ErrNotExist) {
		what = "was replaced"
	}
	if err := publish(r.generationPath(r.live), r.path); err != nil {
		m.say("%s %s, and cannot be put back: %v", r.text, what, err)
		return
	}
	m.say("%s %s; it leads to generation %d again", r.text, what, r.live)
}

// Watch calls changed after each change that another process makes to a listener or its path.
func (r *rename) Watch(ctx context.Context, changed func()) error { return r.watch.run(ctx, changed) }

// Verify checks that a generation can be reached and, when it is live, that clients reach it.
func (r *rename) Verify(_ context.Context, gen int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd, err := r.fd(gen)
	if err != nil {
		return err
	}
	r.mend()
	switch {
	case isShutDown(fd):
		return fmt.Errorf("a worker of generation %d has shut down its listener on %s", gen, r.text)
	case !LeadsTo(r.generationPath(gen), fd):
		return fmt.Errorf("%s was removed", r.generationPath(gen))
	case r.live == gen && !LeadsTo(r.path, fd):
		return fmt.Errorf("%s does not lead to generation %d", r.text, gen)
	}
	return nil
}

// Strangers returns none: Mend reports a process that replaces the path.
func (r *rename) Strangers() []string { return nil }

// Mend makes the shared listener listen again.
func (s *shared) Mend() (m Mended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listener
	if l == nil {
		return m
	}
	if l.network == "unix" && isShutDown(l.fd) {
		m.say("a worker has shut down the listener %s, which all generations share", s.text)
		for gen := range s.gens {
			m.Lost = append(m.Lost, gen)
		}
		return m
	}
	if !listens(l.fd) {
		m.say("a worker had shut down the listener %s, which all generations share; it listens again", s.text)
	}
	if err := relisten(l.fd, s.backlog); err != nil {
		m.say("%v", err)
	}
	return m
}

// Watch calls changed when a worker shuts down the listener.
func (s *shared) Watch(ctx context.Context, changed func()) error { return s.watch.run(ctx, changed) }

// Verify checks that the listener listens. Which generation accepts from it is up to chance.
func (s *shared) Verify(_ context.Context, gen int) error {
	l, err := s.listenerOf(gen)
	if err != nil {
		return err
	}
	if !listens(l.fd) || l.network == "unix" && isShutDown(l.fd) {
		return fmt.Errorf("a worker has shut down the listener %s", s.text)
	}
	return nil
}

// Strangers returns none: other processes that accept from a shared queue cannot be identified.
func (s *shared) Strangers() []string { return nil }
