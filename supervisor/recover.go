package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// recovery takes over from an earlier daemon, once, before anything else.
type recovery struct {
	*core
	owner     *Supervisor
	finishing []*instance // adopted, and to go on with finishing
}

func newRecovery(s *Supervisor) *recovery { return &recovery{core: s.core, owner: s} }

// run takes over from an earlier daemon: it learns what was live, adopts the workers that have
// outlived it together with their listeners, and ends those that belong to no worker.
func (rc *recovery) run() error {
	var st state
	for _, step := range []struct {
		name string
		do   func(*state) error
	}{
		{"read the state", rc.recall},
		{"adopt workers", rc.adoptGenerations},
		{"stop orphans", rc.stopOrphans},
		{"adopt listeners", rc.adoptListeners},
		{"adopt the maintenance page", rc.adoptPage},
		{"adopt the live generation", rc.adoptLive}, // it turns the gates away from those that finish
		{"go on draining", rc.finishDraining},
		{"end what was not live", rc.stopUnproved},
	} {
		rc.fault("recover", "before "+step.name)
		if err := step.do(&st); err != nil {
			return err
		}
		rc.fault("recover", "after "+step.name)
	}
	return nil
}

// recall reads what the earlier daemon knew.
func (rc *recovery) recall(st *state) (err error) {
	// a worker's user opens its own pipe in it
	if err := os.MkdirAll(filepath.Join(rc.opt.State, "log"), 0o711); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	*st, err = rc.owner.journal.load()
	if unreadable := new(UnreadableStateError); errors.As(err, &unreadable) {
		*st, err = state{Next: 1}, rc.owner.journal.setAside(unreadable)
	}
	if err != nil {
		return err
	}
	rc.owner.next, rc.owner.release, rc.owner.previous, rc.owner.last = st.Next, st.Release, st.Previous, st.Last
	rc.owner.liveSince, rc.owner.previousSince = st.LiveSince, st.PreviousSince
	rc.owner.owed = st.Untold
	if st.ToldHealth != "" {
		rc.owner.health.episode = episode{began: time.Now(), told: st.ToldHealth}
	}
	maps.Copy(rc.owner.demand.scale, st.Scale)
	rc.owner.scheduling.recall(st)
	for _, name := range st.Paused {
		rc.owner.demand.paused[name] = true
	}
	rc.owner.listeners.openFormer(st)
	rc.owner.maintenance.recall(st)
	rc.owner.flags.install()
	return rc.clearTorn()
}

// stopOrphans ends what an earlier daemon's workers, of which nothing is known any more, have
// left. What does not end, as in a call of the kernel's that hangs, must not keep the site's daemon
// from starting.
func (rc *recovery) stopOrphans(*state) error {
	if err := rc.os.sweep(rc.mark(), rc.knows); err != nil {
		rc.log.Error("stop processes orphaned by an earlier daemon", zap.Error(err))
	}
	if err := rc.opt.Cgroups.Sweep(rc.encloses); err != nil {
		rc.log.Error("stop processes orphaned by an earlier daemon", zap.Error(err))
	}
	if err := rc.os.strays(rc.owner.runningWorkers()); err != nil {
		rc.log.Error("stop processes that have left their worker", zap.Error(err))
	}
	return nil
}

// knows reports whether a process with that tag is a worker's that was adopted.
func (rc *recovery) knows(tag string) bool {
	for _, g := range rc.owner.generations {
		for _, in := range g.instances {
			if in.w != nil && in.w.Tag() == tag {
				return true
			}
		}
	}
	return false
}

// encloses reports whether a control group is an adopted worker's.
func (rc *recovery) encloses(dir string) bool {
	for _, g := range rc.owner.generations {
		for _, in := range g.instances {
			if in.w != nil && in.w.Cgroup() == dir {
				return true
			}
		}
	}
	return false
}

// stopUnproved ends the generations that had not had their cutover.
func (rc *recovery) stopUnproved(*state) error {
	for _, g := range ordered(rc.owner.generations) {
		if g == rc.owner.live || g.state != Booting && g.state != Staged {
			continue
		}
		if rc.owner.maintenance.is(g) {
			continue
		}
		if g == rc.owner.rolling {
			continue // it serves on until the live one is whole again
		}
		if g.state == Staged {
			g.tried = true // its cutover may have been under way: clients may be with it, and in its queues
		}
		if g.tried {
			rc.async(func() { g.withdrawAdopted() })
		} else {
			g.failure = &failure{reason: "the daemon ended before its cutover"}
			g.retire()
		}
	}
	if rc.owner.live != nil {
		rc.owner.listeners.closeUnused()
	} else {
		rc.async(rc.closeLater)
	}
	rc.owner.flags.removeUnused()
	rc.owner.memory.clearScratch()
	rc.owner.counts.retire()
	rc.owner.memory.clearValues(rc.owner.memory.valuesInUse())
	return rc.clearOutputs()
}

// closeLater gives up the listeners of generations of which nothing has survived as soon as the next
// generation serves: it may need what was handed in, and its workers serve what is queued there.
func (rc *recovery) closeLater() {
	if rc.owner.await(context.Background(), func() (bool, error) {
		live := rc.owner.live
		return live != nil && live.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }), nil
	}) == nil {
		_ = rc.owner.do(rc.owner.listeners.closeUnused)
	}
}

// closeUnused gives up the listeners of generations of which nothing has survived: no worker would
// ever accept from them. A stand-in serves what is queued there.
func (ls *listenerSet) closeUnused() {
	for name, gate := range ls.everyGate() {
		for _, m := range gate.Members() {
			l := listener{gate, m.Gen}
			if !l.held() || m.Gen == gate.Live() || ls.shares(nil, l) || l.queued() > 0 && ls.standIn(l) {
				continue
			}
			if err := l.close(); err != nil {
				ls.log.Warn(
					"close a listener of an earlier daemon", zap.String("listener", name), zap.Int("generation", m.Gen),
					zap.Error(err),
				)
			}
		}
	}
}

// clearTorn removes the files that a daemon was writing when it was killed.
func (rc *recovery) clearTorn() error {
	left, err := filepath.Glob(filepath.Join(rc.opt.State, ".*.[jt]*")) // .state.json123, .config.toml123
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
func (rc *recovery) clearOutputs() error {
	used := make(map[string]bool)
	for _, g := range rc.owner.generations {
		for _, in := range g.instances {
			used[in.outPath] = true
		}
	}
	left, err := filepath.Glob(filepath.Join(rc.opt.State, "log", "g*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if used[path] {
			continue
		}
		// Its reader, which ends at this moment, removes it too.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			rc.log.Warn("remove an old output pipe", zap.Error(err))
		}
	}
	return nil
}
