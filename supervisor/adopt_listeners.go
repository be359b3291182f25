package supervisor

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// adoptListeners gives each gate back its listeners, in the order in which the kernel has them: from what was handed over
// by name, else from the workers that hold them.
func (s *Supervisor) adoptListeners(st *state) error {
	type listener struct {
		name   string
		number int
	}
	kept := make(map[listener]bool)
	for name, members := range st.Listeners {
		gate := s.gates[name]
		if gate == nil {
			continue
		}
		found := make([]foundMember, len(members))
		for i, m := range members {
			fd, ok := s.findListener(name, m)
			found[i] = foundMember{memberState: m, fd: fd, there: ok}
		}
		if places := missing(found); places > 1 && gate.Kind() == kindSteer {
			s.log.Warn("the places of the listeners that are left are not known", zap.String("listener", name), zap.Int("lost", places))
			for _, m := range found {
				if m.there {
					_ = unix.Close(m.fd) // the workers that have it serve on
				}
			}
			continue
		}
		for _, m := range stillThere(found) {
			if err := gate.Adopt(m.Gen, m.fd); err != nil {
				s.log.Error("adopt listener", zap.String("listener", name), zap.Int("generation", m.Gen), zap.Error(err))
				continue
			}
			kept[listener{name, m.Gen}] = true
			for _, g := range s.generations {
				if m.Gen != 0 && slices.Contains(m.Users, g.id) && !slices.Contains(g.numbers()[name], m.Gen) {
					g.staged[name] = m.Gen
				}
			}
		}
	}
	for _, g := range s.generations {
		for _, in := range g.instances {
			maps.DeleteFunc(in.own, func(name string, n int) bool { return !kept[listener{name, n}] })
		}
	}
	return nil
}

// foundMember is a listener of an earlier daemon with the descriptor that was found for it. Each has one of its own, also
// where the generations share one listener.
type foundMember struct {
	memberState
	fd    int
	there bool
}

// missing is how many places of a group are lost. After the loss of one it is known who has come into its place; in which order a
// killed daemon loses several is the kernel's affair.
func missing(list []foundMember) (n int) {
	for _, m := range list {
		if !m.there {
			n++
		}
	}
	return n
}

// stillThere is the order of a group after the members that nobody holds any more have left it: the kernel moves the last
// one into the place of one that leaves (reuseport_detach_sock).
func stillThere(list []foundMember) []foundMember {
	for i := 0; i < len(list); {
		if list[i].there {
			i++
			continue
		}
		list[i] = list[len(list)-1]
		list = list[:len(list)-1]
	}
	return list
}

// findListener finds a descriptor of a listener that an earlier daemon bound.
func (s *Supervisor) findListener(name string, m memberState) (int, bool) {
	if fd := s.takeInherited(listenerName(name, m)); fd >= 0 {
		return fd, true
	}
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w == nil || !slices.Contains(in.proc.Listen, name) {
				continue
			}
			if fd, err := in.w.Socket(m.Inode); err == nil {
				return fd, true
			}
		}
	}
	return -1, false
}

func inodeOf(fd int) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0
	}
	return st.Ino
}
