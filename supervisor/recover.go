package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

// recover takes over from an earlier daemon: it learns what was live, adopts the workers that have
// outlived it together with their listeners, and ends those that belong to nobody.
func (s *Supervisor) recover() error {
	var st state
	for _, step := range []struct {
		name string
		do   func(*state) error
	}{
		{"read the state", s.recall},
		{"adopt workers", s.adoptGenerations},
		{"end what is nobody's", s.endStrangers},
		{"adopt listeners", s.adoptListeners},
		{"go on draining", s.finishDraining},
		{"adopt the live generation", s.adoptLive},
		{"end what was not live", s.endUnproved},
	} {
		s.fault("recover", "before "+step.name)
		if err := step.do(&st); err != nil {
			return err
		}
		s.fault("recover", "after "+step.name)
	}
	return nil
}

// recall reads what the earlier daemon knew.
func (s *Supervisor) recall(st *state) (err error) {
	// a worker's user opens its own pipe in it
	if err := os.MkdirAll(filepath.Join(s.opt.State, "log"), 0o711); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	*st, err = s.load()
	if unreadable := new(UnreadableStateError); errors.As(err, &unreadable) {
		*st, err = state{Next: 1}, s.setAside(unreadable)
	}
	if err != nil {
		return err
	}
	s.next, s.release, s.previous, s.last = st.Next, st.Release, st.Previous, st.Last
	s.liveSince, s.previousSince = st.LiveSince, st.PreviousSince
	s.untold = st.Untold
	if st.ToldHealth != "" {
		s.episode = episode{began: time.Now(), told: st.ToldHealth}
	}
	maps.Copy(s.scale, st.Scale)
	for _, name := range st.Paused {
		s.paused[name] = true
	}
	s.openFormer(st)
	s.installHook()
	return s.clearTorn()
}

// endStrangers ends what an earlier daemon's workers, of which nothing is known any more, have
// left. What does not end, as in a call of the kernel's that hangs, must not keep the site's daemon
// from starting.
func (s *Supervisor) endStrangers(*state) error {
	if err := s.os.sweep(s.mark(), s.knows); err != nil {
		s.log.Error("stop processes orphaned by an earlier daemon", zap.Error(err))
	}
	if err := s.opt.Cgroups.Sweep(s.encloses); err != nil {
		s.log.Error("stop processes orphaned by an earlier daemon", zap.Error(err))
	}
	if err := s.os.strays(s.runningWorkers()); err != nil {
		s.log.Error("stop processes that have left their worker", zap.Error(err))
	}
	return nil
}

// knows tells whether a process with that tag is a worker's that was adopted.
func (s *Supervisor) knows(tag string) bool {
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w != nil && in.w.Tag() == tag {
				return true
			}
		}
	}
	return false
}

// encloses tells whether a control group is an adopted worker's.
func (s *Supervisor) encloses(dir string) bool {
	for _, g := range s.generations {
		for _, in := range g.instances {
			if in.w != nil && in.w.Cgroup() == dir {
				return true
			}
		}
	}
	return false
}

// endUnproved ends the generations that had not had their cutover.
func (s *Supervisor) endUnproved(*state) error {
	for _, g := range ordered(s.generations) {
		if g == s.live || g.state != Booting && g.state != Staged {
			continue
		}
		if g == s.rolling {
			continue // it serves on until the live one is whole again
		}
		if g.state == Staged {
			g.tried = true // its cutover may have been under way: clients may be with it, and in its queues
		}
		if g.tried {
			s.beside(func() { s.withdrawAdopted(g) })
		} else {
			g.failure = &failure{reason: "the daemon ended before its cutover"}
			s.retire(g)
		}
	}
	s.closeUnused()
	s.clearFlags()
	s.clearScratch()
	s.clearValues(s.valuesInUse())
	return s.clearOutputs()
}

// closeUnused gives up the listeners of generations of which nothing has survived: nobody would
// ever accept from them.
func (s *Supervisor) closeUnused() {
	if s.live == nil {
		return // the next generation may need what was handed in
	}
	for name, gate := range s.everyGate() {
		for _, m := range gate.Members() {
			used := func(g *generation) bool {
				return g.gates[gate.Name()] == gate && slices.Contains(g.numbers()[gate.Name()], m.Gen)
			}
			if m.Gen == 0 || m.Gen == gate.Live() ||
				slices.ContainsFunc(slices.Collect(maps.Values(s.generations)), used) {
				continue
			}
			if err := gate.Close(m.Gen); err != nil {
				s.log.Warn(
					"close a listener of an earlier daemon", zap.String("listener", name), zap.Int("generation", m.Gen),
					zap.Error(err),
				)
			}
		}
	}
}

// clearTorn removes the files that a daemon was writing when it was killed.
func (s *Supervisor) clearTorn() error {
	left, err := filepath.Glob(filepath.Join(s.opt.State, ".*.[jt]*")) // .state.json123, .config.toml123
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove a file that was not written to its end: %w", err)
		}
	}
	return nil
}

// clearOutputs removes the pipes that no worker writes to any more. One that stays is in nobody's
// way.
func (s *Supervisor) clearOutputs() error {
	used := make(map[string]bool)
	for _, g := range s.generations {
		for _, in := range g.instances {
			used[in.outPath] = true
		}
	}
	left, err := filepath.Glob(filepath.Join(s.opt.State, "log", "g*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if used[path] {
			continue
		}
		// Its reader, which ends at this moment, removes it too.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("remove an old output pipe", zap.Error(err))
		}
	}
	return nil
}
