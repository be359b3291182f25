package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// simAssets is the directory of static files that a web server serves: which releases have all of
// theirs in it, and whose content the names have that every release has.
type simAssets struct {
	published map[string]time.Time // since when
	follows   string
	wasSet    time.Time  // follows
	before    string     // follows, before that
	full      bool       // the disk is
	refused   string     // the release that was not published, because the disk was full; "" = none
	late      string     // the release whose content could not be set, which is tried again; "" = none
	by        *simDaemon // that tries it again
	work      int        // the newest of the calls that may try again
}

// unsynced is how long a file may be lost by a loss of power.
const unsynced = 5 * time.Second

// publish is Options.Publish. Each of its steps may be the last one of the daemon.
func (d *simDaemon) publish(_ context.Context, p Plan) (string, error) {
	name := p.Release.Name
	for _, part := range []string{"record", "files"} {
		if !d.edge(fmt.Sprint("publish the ", part, " of ", name)) {
			return "", errSimDead
		}
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	as := &d.m.assets
	if as.published[name].IsZero() {
		if as.full {
			as.refused = name
			return "", syscall.ENOSPC
		}
		as.published[name] = time.Now()
		d.m.logf("the static files of %s are published", name)
	}
	if as.follows == "" {
		as.set(name)
	}
	return "", nil
}

func (as *simAssets) set(name string) {
	if as.follows != name {
		as.before, as.follows, as.wasSet = as.follows, name, time.Now()
	}
}

// refresh is Options.Refresh: what fails is tried again until it works, another release is live, or
// the daemon ends.
func (d *simDaemon) refresh(p Plan) error {
	name := p.Release.Name
	if !d.edge("refresh the static files to " + name) {
		return errSimDead
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.assets.work++
	return d.tryRefresh(name, d.m.assets.work, time.Second)
}

// tryRefresh is one try; the lock is held.
func (d *simDaemon) tryRefresh(name string, work int, again time.Duration) error {
	as := &d.m.assets
	if as.full && (as.follows != name || as.published[name].IsZero()) {
		as.late, as.by = name, d
		time.AfterFunc(again, func() {
			d.m.locked(func() {
				if !d.dead && work == as.work {
					_ = d.tryRefresh(name, work, 2*again)
				}
			})
		})
		return syscall.ENOSPC
	}
	if as.published[name].IsZero() {
		as.published[name] = time.Now()
	}
	as.set(name)
	as.late = ""
	d.m.logf("the static files follow %s", name)
	return nil
}

// lose is a loss of power: what was not written back may be gone.
func (as *simAssets) lose(pick uint64) {
	for name, since := range ordered(as.published) {
		if pick >>= 1; time.Since(since) < unsynced && pick%2 == 0 {
			delete(as.published, name)
		}
	}
	if time.Since(as.wasSet) < unsynced {
		as.follows = as.before
	}
}

// checkPublished is called when a worker with listeners starts: the pages of its release may name all of
// its static files. A trial gets no user, and a release whose files found no room on the disk is started
// all the same if nothing is live.
func (m *sim) checkPublished(p *simProc) {
	name := p.spec.Release
	users := slices.ContainsFunc(p.sockets, func(s *simSocket) bool { return !s.address.private })
	if !m.sc.Site.Assets || !users || p.spec.Process == pageProcess || m.startsAgain && m.assets.refused == name ||
		m.assets.late == name {
		return
	}
	if m.assets.published[name].IsZero() {
		m.violate("%s starts, and its static files are not published", p)
	}
}

// checkFollows holds, while no change is in progress, that the names which several releases have lead to
// the files of the live one, or that this is tried again.
func (m *sim) checkFollows(d *simDaemon) {
	s := d.s
	if !m.sc.Site.Assets || s.live == nil || s.change != nil || s.handover.handedOver || s.leaving || s.stopping || m.now != d {
		return
	}
	select {
	case <-s.startup.started:
	default:
		return
	}
	name := s.live.plan.Release.Name
	switch as := &m.assets; {
	case as.late == name && as.by == d:
	case as.follows != name:
		m.violate("the static files are those of %s, and %s is live", as.follows, name)
	case as.published[name].IsZero():
		m.violate("static files of %s are missing, and it is live", name)
	}
}

// assets gives half of the scenarios static files, and a third of those what may meet their publication.
// It draws from a stream of its own.
func (sc *scenario) assets(r *rand.Rand) {
	if sc.Site.Assets = r.IntN(2) == 0; !sc.Site.Assets || r.IntN(3) > 0 {
		return
	}
	last := sc.Actions[len(sc.Actions)-1].At
	for range 1 + r.IntN(3) {
		at := 3000 + r.IntN(last)
		list := []simAction{
			{At: at, Do: []string{"switch", "switch", "rollback", "reload"}[r.IntN(4)], Release: fmt.Sprint("r", 1+r.IntN(6))},
			{At: at - 500 + r.IntN(4000), Do: "no room", For: 200 + r.IntN(15_000)},
			{
				At: at + 1 + r.IntN(2000), Do: []string{"kill at event", "kill daemon", "power", "leave"}[r.IntN(4)],
				N: 1 + r.IntN(30), For: 200 + r.IntN(3000),
			},
		}
		for _, a := range list[:1+r.IntN(3)] {
			sc.Actions = append(sc.Actions, a.tidied())
		}
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}
