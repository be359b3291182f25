package supervisor

import (
	"fmt"

	"go.uber.org/zap"
)

// Store keeps descriptors beyond the end of this daemon, such as systemd's (sd_notify(3), FDSTORE=1).
type Store interface {
	Put(name string, fd int) error
	Remove(name string) error
}

// listenerName is the name of a listener's descriptor for the next daemon (DESIGN 10).
func listenerName(listener string, m memberState) string {
	if m.Gen == 0 {
		return fmt.Sprintf("listener/%s/spare%d", listener, m.Inode)
	}
	return fmt.Sprintf("listener/%s/g%d", listener, m.Gen)
}

// Descriptors is the one set of named descriptors that the next daemon needs.
func (s *Supervisor) descriptors() map[string]int {
	all := make(map[string]int)
	for name, gate := range s.gates {
		for _, m := range gate.Members() {
			all[listenerName(name, memberState{Gen: m.Gen, Inode: inodeOf(m.FD)})] = m.FD
		}
	}
	return all
}

// store makes the store keep just what the next daemon needs: each turn compares, so that a lost message is sent again.
func (s *Supervisor) store() {
	if s.opt.Store == nil {
		return
	}
	wanted := s.descriptors()
	for name, inode := range s.stored {
		if fd, ok := wanted[name]; ok && inodeOf(fd) == inode {
			continue
		}
		if err := s.opt.Store.Remove(name); err != nil {
			s.log.Error("take a descriptor out of the store", zap.String("name", name), zap.Error(err))
			continue
		}
		delete(s.stored, name)
	}
	for name, fd := range wanted {
		if _, ok := s.stored[name]; ok {
			continue
		}
		if err := s.opt.Store.Put(name, fd); err != nil {
			s.log.Error("put a descriptor into the store", zap.String("name", name), zap.Error(err))
			continue
		}
		s.stored[name] = inodeOf(fd)
	}
}
