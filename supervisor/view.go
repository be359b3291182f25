package supervisor

import (
	"os"
	"slices"
	"time"
)

// Status describes the app as it is now.
func (s *Supervisor) Status() Status {
	st := Status{
		App: s.opt.App, Version: s.opt.Version, PID: os.Getpid(), Health: HealthDown, Reason: ErrStopping.Error(),
	}
	for _, gate := range s.opt.Gates {
		s.mend(gate) // what no event has told of
	}
	var figures []measurement
	s.examine()
	config := ""
	_ = s.do(func() {
		st, figures = s.status()
		if s.live != nil {
			config = s.live.plan.Config
		}
	})
	if s.opt.NotInForce != nil {
		if why := s.opt.NotInForce(config); why != "" {
			st.Troubles = append(st.Troubles, Trouble{Of: "config", Since: time.Now(), Why: why})
		}
	}
	s.fill(&st, figures)
	st.Troubles = append(st.Troubles, s.shortages(&st, figures)...)
	st.Troubles = append(st.Troubles, s.strangers()...)
	if s.opt.Troubles != nil {
		st.Troubles = append(st.Troubles, s.opt.Troubles()...)
	}
	return st
}

func (s *Supervisor) status() (Status, []measurement) {
	st := Status{
		App: s.opt.App, Version: s.opt.Version, PID: os.Getpid(), Since: s.since, Changing: s.changing(), Last: s.last,
		Processes: []ProcessStatus{}, Generations: []GenerationStatus{}, Listeners: []ListenerStatus{},
		Containment: ProcessGroups,
	}
	if s.opt.Cgroups != nil {
		st.Containment = ControlGroups
	}
	if s.live != nil {
		st.Release, st.Commit, st.Generation = s.live.plan.Release.Name, s.live.plan.Release.Commit, s.live.id
	}
	if l := s.liveSince; l != nil && s.live != nil {
		st.LiveSince, st.LiveBy, st.LiveOrigin = l.At, l.Who, &l.Origin
	}
	if s.previous != nil {
		st.Previous = s.previous.Name
	}
	st.Processes = append(st.Processes, s.processes()...)
	st.Health, st.Reason = s.health()
	st.Troubles = slices.Concat(s.reported(), s.incidents(), s.hookless())
	if s.live == nil && s.startFailure != "" && s.release != nil {
		st.Expected = s.release.Name
	}
	for _, g := range s.generations {
		st.Generations = append(st.Generations, g.status())
	}
	slices.SortFunc(st.Generations, func(a, b GenerationStatus) int { return b.ID - a.ID })
	var figures []measurement
	for i := range st.Generations {
		figures = append(figures, s.generations[st.Generations[i].ID].measurement())
	}
	for _, gate := range s.opt.Gates {
		ls := ListenerStatus{Name: gate.Name(), Address: gate.Address(), Gate: gate.Kind()}
		numbers := []int{gate.Live()}
		if s.live != nil && len(s.live.numbers()[gate.Name()]) > 0 {
			ls.Generation, numbers = s.live.id, s.live.numbers()[gate.Name()]
		}
		for _, number := range numbers {
			if number == 0 {
				continue // nobody is live
			}
			if n, limit, err := gate.Queue(number); err == nil {
				ls.Queue, ls.QueueLimit = ls.Queue+n, ls.QueueLimit+limit
			}
		}
		ls.Canary = s.canaryOn(gate)
		st.Listeners = append(st.Listeners, ls)
	}
	return st, figures
}

// processes sums up those of the live generation.
func (s *Supervisor) processes() (list []ProcessStatus) {
	if s.live == nil {
		return nil
	}
	for i := range s.live.plan.Processes {
		p := &s.live.plan.Processes[i]
		ps := ProcessStatus{Name: p.Name, Wanted: s.wanted(p), Configured: p.Instances, Paused: s.paused[p.Name]}
		for _, in := range s.live.of(p.Name) {
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
	for _, in := range g.instances {
		ws := WorkerStatus{
			Process: in.proc.Name, Instance: in.index, State: string(in.state), Status: in.says, Restarts: in.restarts,
			Since: in.since, Reason: in.reason,
			DrainHook: in.hooked,
		}
		if in.w != nil {
			ws.PID = in.w.PID()
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
		Committed: c.committed, Since: c.began,
	}
	if cs.Release == "" {
		cs.Release = c.req.Release
	}
	if c.to != nil {
		cs.Canary = c.to.canary
	}
	return cs
}
