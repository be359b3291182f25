package supervisor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"superctl/plain"
)

// verdict is the worst that was found, with the first reason for it.
type verdict struct{ health, reason string }

func (v *verdict) add(health, reason string) {
	order := []string{HealthOK, HealthDegraded, HealthDown}
	if reason != "" && slices.Index(order, health) > slices.Index(order, v.health) {
		v.health, v.reason = health, reason
	}
}

// appHealth judges the health of the app and announces its changes.
type appHealth struct {
	*core
	owner    *Supervisor
	troubles map[string]Trouble // reported and not over, by what they are of
	episode  episode            // the trouble that the app is in
}

// verdict is what status, STATUS= for systemd and exit codes say: maintenance and a crash loop are part of it.
func (ah *appHealth) verdict() (health, reason string) {
	v := verdict{health: HealthOK}
	ah.judgeApp(&v)
	ah.judgeLoops(&v)
	ah.owner.maintenance.judge(&v)
	ah.owner.maintenance.mention(&v)
	return v.health, v.reason
}

// trouble is the verdict for notifications. Maintenance that was asked for is no trouble.
func (ah *appHealth) trouble() (health, reason string) {
	v := verdict{health: HealthOK}
	ah.judgeApp(&v)
	ah.owner.maintenance.judge(&v)
	return v.health, v.reason
}

// judgeApp adds all that is wrong with the app.
func (ah *appHealth) judgeApp(v *verdict) {
	if ah.owner.live == nil {
		v.add(HealthDown, ah.whyNotLive())
	} else {
		ah.judgeLive(v)
	}
	for _, of := range slices.Sorted(maps.Keys(ah.troubles)) {
		if t := ah.troubles[of]; t.Health != "" {
			v.add(t.Health, t.Why)
		}
	}
	if ah.opt.Complaint != nil {
		v.add(HealthDegraded, ah.opt.Complaint())
	}
}

// whyNotLive tells a new machine from one whose release does not come up.
func (ah *appHealth) whyNotLive() string {
	switch {
	case ah.owner.stopping:
		return ErrStopping.Error()
	case ah.owner.startup.waiting != "":
		return ah.owner.startup.waiting
	case ah.owner.startup.failure == "":
		return "no release is live"
	case ah.owner.release == nil:
		return "a release should be live and is not: " + ah.owner.startup.failure
	default:
		return ah.owner.release.Name + " should be live and is not: " + ah.owner.startup.failure
	}
}

// judgeLive looks at the processes and listeners of the live generation. A rolling change replaces
// its instances one by one: then those of both generations serve.
func (ah *appHealth) judgeLive(v *verdict) {
	if why := ah.owner.listeners.unreachable(); why != "" {
		v.add(HealthDown, why)
	}
	list := ah.owner.live.instances
	if ah.owner.rolling != nil {
		list = slices.Concat(list, ah.owner.rolling.instances)
	}
	of := make(map[string][]*instance)
	for _, in := range list {
		of[in.proc.Name] = append(of[in.proc.Name], in)
	}
	for i := range ah.owner.live.plan.Processes {
		p := &ah.owner.live.plan.Processes[i]
		ah.judgeProcess(v, p, of[p.Name])
	}
	for _, in := range list {
		if in.finding != "" && in.state == InstanceReady {
			v.add(HealthDegraded, in.String()+" "+in.finding)
		}
	}
	for _, gate := range ah.opt.Gates {
		v.add(HealthDegraded, ah.notYet(gate))
	}
}

// judgeLoops adds a worker that is ready and died again and again before that. Notifications do without: an
// episode counts the time of all deaths.
func (ah *appHealth) judgeLoops(v *verdict) {
	if ah.owner.live == nil {
		return
	}
	for _, in := range ah.owner.live.instances {
		if in.state == InstanceReady && in.loops() {
			v.add(HealthDegraded, fmt.Sprintf("%s %s (started again %s)", in, in.death, plain.Count(in.streak, "time", "times in a row")))
		}
	}
}

// notYet says that the live generation does not use a listener of the config yet, because it was
// started with another config.
func (ah *appHealth) notYet(gate Gate) string {
	live := ah.owner.live
	name := live.plan.Release.Name
	switch list := live.listeners()[gate.Name()]; {
	case len(list) > 0 && list[0].elsewhere(gate):
		return fmt.Sprintf("listener %s is on %s in the config, and %s still listens on %s: superctl reload opens the new address "+
			"and closes the old one", gate.Name(), gate.Address(), name, list[0].gate.Address())
	case len(list) > 0 || live.held || slices.Contains(ah.opt.Unused, gate.Name()):
		return ""
	}
	return fmt.Sprintf("listener %s was added to the config, and %s does not listen on it yet: superctl reload", gate.Name(), name)
}

// judgeProcess adds what the instances of one process say. 0 ready with a listener is down,
// whatever they are about to do: users wait.
func (ah *appHealth) judgeProcess(v *verdict, p *Process, list []*instance) {
	if ah.owner.demand.paused[p.Name] {
		return
	}
	ready, total := 0, len(list)
	var missing *instance // the one that says most: an end says more than a beginning
	for _, in := range list {
		switch {
		case in.serves():
			ready++
		case missing == nil || missing.reason == "" && in.reason != "":
			missing = in
		}
	}
	switch {
	case total > 0 && ready == 0 && len(p.Listen) > 0:
		v.add(HealthDown, fmt.Sprintf("%s: 0 of %d ready: %s", p.Name, total, ah.owner.live.why(missing)))
	case missing != nil && missing.fails():
		v.add(HealthDegraded, fmt.Sprintf("%s: %d of %d ready: %s", p.Name, ready, total, ah.owner.live.why(missing)))
	}
}

// fails reports whether an instance that is wanted has ended by itself, and is not back yet.
func (in *instance) fails() bool {
	return in.dead && in.wanted || in.state == InstanceBackoff || in.state == InstanceStarting && in.restarts > 0
}

// why says why an instance of the live generation is not ready.
func (g *generation) why(in *instance) string {
	switch {
	case in.fails():
		return fmt.Sprintf("%s %s (started again %s)", in, cmp.Or(in.reason, "ended"), plain.Count(in.restarts, "time", "times"))
	case in.state == InstanceStarting:
		text := in.String() + " is starting"
		if trouble := in.gen.trouble(in.lane()); trouble != "" {
			text += ": " + trouble
		}
		return text
	case g.held:
		return "connections wait while it is replaced"
	default:
		return fmt.Sprintf("%s is %s", in, in.state)
	}
}

// Report takes note of something around the app that does not work, until a report of the same with
// an empty Why says that it does again. Since may be left out. Its Health is part of the app's: in
// status, systemd's STATUS=, exit codes and notifications. It may be called by any goroutine but
// the owner's, again and again.
func (s *Supervisor) Report(t Trouble) { s.post(func() { s.health.report(t) }) }

// report is Report for the owner.
func (ah *appHealth) report(t Trouble) {
	if t.Why == "" {
		delete(ah.troubles, t.Of)
		return
	}
	if was, ok := ah.troubles[t.Of]; ok {
		t.Since = was.Since
	}
	if t.Since.IsZero() {
		t.Since = time.Now()
	}
	ah.troubles[t.Of] = t
}

// reported are the troubles that were reported and are not over.
func (ah *appHealth) reported() (list []Trouble) {
	for _, of := range slices.Sorted(maps.Keys(ah.troubles)) {
		list = append(list, ah.troubles[of])
	}
	return list
}
