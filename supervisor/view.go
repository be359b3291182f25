package supervisor

import (
	"os"
	"slices"
	"time"

	"superctl/api"
)

// view describes the app for people.
type view struct {
	*core
	owner *Supervisor
	meter meter
}

// Status describes the app as it is now.
func (s *Supervisor) Status() Status { return s.Measures().Status }

// Measures returns the status with the requests of each process and generation. It leaves the totals
// of changes to the caller, which has the history.
func (s *Supervisor) Measures() Measures {
	st := Status{
		App: s.opt.App, Version: s.opt.Version, PID: os.Getpid(), Health: HealthDown, Reason: ErrStopping.Error(),
	}
	for _, gate := range s.opt.Gates {
		s.listeners.mend(gate) // what no event has told of
	}
	var figures []measurement
	s.releaseWatch.examine()
	config := ""
	_ = s.do(func() {
		st, figures = s.view.status()
		if s.live != nil {
			config = s.live.plan.Config
		}
	})
	if s.opt.NotInForce != nil {
		if why := s.opt.NotInForce(config); why != "" {
			st.ConfigChanged = true
			st.Troubles = append(st.Troubles, Trouble{Of: "config", Since: time.Now(), Why: why})
		}
	}
	s.view.fill(&st, figures)
	counted := s.counts.fill(&st, figures)
	st.Troubles = append(st.Troubles, s.view.shortages(&st, figures)...)
	st.Troubles = append(st.Troubles, s.listeners.strangers()...)
	if s.opt.Troubles != nil {
		st.Troubles = append(st.Troubles, s.opt.Troubles()...)
	}
	return Measures{Status: st, Requests: counted}
}

func (vw *view) status() (Status, []measurement) {
	st := Status{
		Host: vw.opt.Host, Config: vw.opt.Config, App: vw.opt.App, Version: vw.opt.Version, PID: os.Getpid(), Since: vw.owner.since,
		Changing: vw.owner.changing(), Lock: vw.owner.admission.lease, Last: vw.owner.last,
		Processes: []ProcessStatus{}, Generations: []GenerationStatus{}, Listeners: []ListenerStatus{},
		Containment: ProcessGroups,
	}
	if vw.opt.Cgroups != nil {
		st.Containment = ControlGroups
	}
	st.Maintenance = vw.owner.maintenance.status()
	vw.releases(&st)
	st.Waiting = vw.owner.startup.waiting != ""
	st.Processes = append(st.Processes, vw.processes()...)
	st.Health, st.Reason = vw.owner.health.verdict()
	if st.Maintenance != nil {
		st.Maintenance.Health, _ = vw.owner.health.trouble()
	}
	st.Troubles = slices.Concat(vw.owner.health.reported(), vw.owner.listeners.incidents(), vw.owner.flags.hookless(),
		vw.owner.recycling.troubles())
	st.Cron = vw.owner.scheduling.status()
	for _, g := range vw.owner.generations {
		st.Generations = append(st.Generations, g.status())
	}
	slices.SortFunc(st.Generations, func(a, b GenerationStatus) int { return b.ID - a.ID })
	var figures []measurement
	for i := range st.Generations {
		figures = append(figures, vw.owner.generations[st.Generations[i].ID].measurement())
	}
	for _, gate := range vw.opt.Gates {
		st.Listeners = append(st.Listeners, vw.listener(gate))
	}
	return st, figures
}

// releases says which release is live, which was before, and which should be.
func (vw *view) releases(st *Status) {
	if live := vw.owner.live; live != nil {
		st.Release, st.Commit, st.Generation = live.plan.Release.Name, live.plan.Release.Commit, live.id
		if l := vw.owner.liveSince; l != nil {
			st.LiveSince, st.LiveBy, st.LiveOrigin, st.Run = l.At, l.Who, &l.Origin, l.Run
			before := vw.owner.previousSince
			st.TakenBack = l.Run != "" && before != nil && before.Run == l.Run
		}
	} else if vw.owner.startup.failure != "" {
		st.StartFailed = true
		if vw.owner.release != nil {
			st.Expected = vw.owner.release.Name
		}
	}
	if vw.owner.previous != nil {
		st.Previous = vw.owner.previous.Name
	}
}

func (vw *view) listener(gate Gate) ListenerStatus {
	ls := ListenerStatus{
		Name: gate.Name(), Address: gate.Address(), Gate: gate.Kind(), Canary: vw.owner.listeners.canaryOn(gate),
	}
	list := []listener{{gate, gate.Live()}}
	if live := vw.owner.live; live != nil {
		if own := live.listeners()[gate.Name()]; len(own) > 0 && !own[0].elsewhere(gate) {
			ls.Generation, list = live.id, own
		}
	}
	if page := vw.owner.maintenance.page; page != nil && page.staged[gate.Name()].held() {
		ls.Generation, list = page.id, []listener{page.staged[gate.Name()]}
	}
	for _, l := range list {
		if !l.held() {
			continue // nothing is live
		}
		if n, limit, err := l.queue(); err == nil {
			ls.Queue, ls.QueueLimit = ls.Queue+n, ls.QueueLimit+limit
		}
	}
	return ls
}

// processes sums up those of the live generation.
func (vw *view) processes() (list []ProcessStatus) {
	if vw.owner.live == nil {
		return nil
	}
	for i := range vw.owner.live.plan.Processes {
		p := &vw.owner.live.plan.Processes[i]
		ps := ProcessStatus{
			Name: p.Name, Wanted: vw.owner.demand.wanted(p), Configured: p.Instances,
			Paused: vw.owner.demand.paused[p.Name],
		}
		for _, in := range vw.owner.live.of(p.Name) {
			if in.state == InstanceReady && in.wanted {
				ps.Ready++
			}
		}
		list = append(list, ps)
	}
	return list
}

func (g *generation) status() GenerationStatus {
	gs := GenerationStatus{
		ID: g.id, Release: g.plan.Release.Name, Commit: g.plan.Release.Commit, State: string(g.state), Since: g.since,
		Workers: []WorkerStatus{},
	}
	if g.plan.Page && g.state != Draining {
		gs.State = api.InMaintenance
	}
	for _, in := range g.instances {
		ws := WorkerStatus{
			Process: in.proc.Name, Instance: in.index, State: string(in.state), Status: in.says, Restarts: in.restarts,
			Since: in.since, Reason: in.reason,
			DrainHook: in.hooked,
		}
		if in.w != nil {
			ws.PID = in.w.PID()
		}
		if l := in.lingers; l != nil {
			until := in.since.Add(l.limit)
			ws.WaitsFor, ws.WaitsUntil = l.what, &until
		}
		gs.Workers = append(gs.Workers, ws)
	}
	return gs
}

func (s *Supervisor) changing() *ChangeStatus {
	c := s.change
	if c == nil {
		return nil
	}
	cs := &ChangeStatus{
		Kind: string(c.req.Kind), Who: c.req.Who, Origin: c.req.Origin, Release: c.release.Name, Step: c.stepName,
		Committed: c.committed, Since: c.began, Follower: c.req.Follower,
	}
	if cs.Release == "" {
		cs.Release = c.req.Release
	}
	if c.to != nil {
		cs.Canary = c.to.canary
	}
	if cs.Canary == nil {
		cs.OldShare = s.listeners.divided.largest()
	}
	return cs
}
