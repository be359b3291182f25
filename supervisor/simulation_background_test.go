package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"superctl/supervisor/worker"
)

// Apps without a listener, as a task queue is: no gate, no connection and no health check. What shows
// whether a release works are its background processes.

// background makes one in twelve scenarios an app without a listener, and asks it for what it cannot have.
// It draws from a stream of its own, so that the others stay as they were.
func (sc *scenario) background(r *rand.Rand) {
	if r.IntN(12) > 0 {
		return
	}
	s := &sc.Site
	s.Listeners, s.Web, s.Hold, s.HoldPage = 0, "", 0, false
	s.Guard, s.Control, s.Strikes, s.Rate, s.Freezes = false, 0, false, "", false
	if s.Worker == "" && (!s.Single || r.IntN(2) == 0) {
		s.Worker = []Strategy{Overlap, Rolling}[r.IntN(2)]
	}
	names := s.background()
	for i := range sc.Actions {
		if a := &sc.Actions[i]; a.Process != "" {
			a.Process = names[r.IntN(len(names))]
		}
	}
	last := sc.Actions[len(sc.Actions)-1].At
	for range r.IntN(3) {
		a := simAction{At: 3000 + r.IntN(last), Do: "maintenance", N: r.IntN(2)}
		if r.IntN(2) == 0 {
			a.Do, a.Release, a.N = "canary", fmt.Sprint("r", 1+r.IntN(6)), 0
		}
		sc.Actions = append(sc.Actions, a)
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return a.At - b.At })
}

// background names the processes without a listener.
func (s *simSite) background() (names []string) {
	if s.Worker != "" {
		names = append(names, "worker")
	}
	if s.Single {
		names = append(names, "beat")
	}
	return names
}

// shows reports whether a worker is one by which its release is judged: one with a listener or, in an app
// without any, each.
func (m *sim) shows(spec *worker.Spec) bool { return len(spec.Files) > 0 || m.sc.Site.Listeners == 0 }

// good reports whether nothing is wrong with how a release starts and runs.
func (r simRelease) good() bool {
	return r == simRelease{Name: r.Name, Boot: r.Boot, Stop: r.Stop, Leaves: r.Leaves, Errors: r.Errors, Silent: r.Silent, Hookless: r.Hookless}
}

// checkRefused holds that an app without a listener has neither a canary nor a maintenance page.
func (m *sim) checkRefused(req Request, err error) {
	if m.sc.Site.Listeners > 0 || req.Canary == nil && req.Maintenance == nil {
		return
	}
	if !errors.As(err, new(*RefusedError)) && !errors.As(err, new(*BusyError)) {
		m.violate("%s of an app without a listener: %v, want it refused", req.Kind, err)
	}
}

// checkWorking holds, while the app has no listener, that status does not say ok while a process of the
// live release that should run does not.
func (m *sim) checkWorking(st Status) {
	idle := ""
	for _, ps := range st.Processes {
		runs := slices.ContainsFunc(m.procs, func(p *simProc) bool {
			return p.spec.Process == ps.Name && !p.ended && p.up && p.told.IsZero()
		})
		if !runs && !ps.Paused {
			idle = ps.Name
		}
	}
	switch {
	case idle == "" || st.Changing != nil:
		m.downSince = time.Time{}
	case m.downSince.IsZero():
		m.downSince = time.Now()
	case time.Since(m.downSince) > 3*time.Second && st.Health == HealthOK:
		m.violate("status says ok, and nothing of %s has run for %s", idle, time.Since(m.downSince))
	}
}

// checkStartOutcome holds that the start of a release which works is not said to have failed, unless
// something has gone wrong since the daemon began.
func (m *sim) checkStartOutcome(d *simDaemon, o *Outcome) {
	if m.sc.Site.Listeners > 0 || o.Kind != string(start) || o.Result == Done || !m.release(o.Release).good() {
		return
	}
	if m.faultAt.After(d.began) || m.disk.fails != nil || m.disk.failed.After(d.began) || m.storeFails {
		return
	}
	m.violate("the start of %s is said to be %s, and nothing is wrong with it: %s", o.Release, o.Result, o.Error)
}

// simWork is what an app without a listener is to run, as of the last turn of its owner.
type simWork struct {
	release  string
	names    []string // of its processes that are not paused
	changing bool
}

// noteWork keeps what the owner knows at the end of a turn; the lock is held.
func (m *sim) noteWork(s *Supervisor) {
	m.work = simWork{changing: s.change != nil}
	if s.live == nil {
		return
	}
	m.work.release = s.live.plan.Release.Name
	for i := range s.live.plan.Processes {
		if p := &s.live.plan.Processes[i]; !s.demand.paused[p.Name] {
			m.work.names = append(m.work.names, p.Name)
		}
	}
}

// checkDone holds that what is said to be live runs, once a change has ended well in an app without a
// listener.
func (m *sim) checkDone(req Request, out *Outcome) {
	if m.sc.Site.Listeners > 0 || !slices.Contains([]Kind{Switch, Rollback, Reload}, req.Kind) || out.Result != Done ||
		!out.Changed || m.faultAt.After(out.Started) || !m.release(out.Release).good() || m.off || m.work.changing {
		return
	}
	if m.work.release != out.Release {
		m.violate("%s to %s is done, and %q is live", req.Kind, out.Release, m.work.release)
	}
	for _, name := range m.work.names {
		if !slices.ContainsFunc(m.procs, func(p *simProc) bool {
			return p.spec.Process == name && p.spec.Release == out.Release && !p.ended
		}) {
			m.violate("%s to %s is done, and nothing of its %s runs", req.Kind, out.Release, name)
		}
	}
}
