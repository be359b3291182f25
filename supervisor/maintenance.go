package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/api"
)

// pageProcess is the name of the one process of a maintenance page.
const pageProcess = "maintenance"

// maintenance is whether users get a maintenance page, and the generation that shows it. The app's own
// generation is live behind the page (see front). The page's generation is staged, as one in a canary
// is: it has connections, its workers are started again when they die, and whatever ends it settles
// its queue first. A daemon that finds it without a record of maintenance withdraws it.
type maintenance struct {
	*core
	owner   *Supervisor
	on      *api.MaintenanceStatus // nil = users reach the app
	page    *generation            // nil = there is none, or it is to be started again
	tries   int                    // of that, in a row
	waiting bool                   // for the next one
	lost    bool                   // a listener of the page cannot be reached any more
	why     string                 // why the page could not be started
}

// is reports whether a generation shows the page.
func (mt *maintenance) is(g *generation) bool { return g != nil && mt.page == g }

// covers reports whether users get the page instead of a generation.
func (mt *maintenance) covers(g *generation) bool {
	return mt.on != nil && mt.page != nil && mt.page != g
}

// status is the maintenance for status and the state file.
func (mt *maintenance) status() *api.MaintenanceStatus {
	if mt.on == nil {
		return nil
	}
	st := *mt.on
	st.Generation = 0
	if mt.page != nil {
		st.Generation = mt.page.id
	}
	return &st
}

// sentence says since when users get the page, and by whom.
func (mt *maintenance) sentence() string {
	if mt.on.Hold {
		return "new connections get the maintenance page since " + api.Moment(mt.on.Since) +
			": they would wait for longer than hold"
	}
	text := fmt.Sprintf(
		"maintenance since %s by %s", api.Moment(mt.on.Since), mt.on.By(mt.on.Who),
	)
	if len(mt.on.Allow) > 0 {
		text += fmt.Sprintf("; only %v reach the app", mt.on.Allow)
	}
	return text
}

// judge adds what is wrong with the page.
func (mt *maintenance) judge(v *verdict) {
	switch {
	case mt.on == nil:
	case mt.page == nil:
		v.add(HealthDown, "the maintenance page is not there: "+mt.why)
	case !mt.page.serves():
		v.add(HealthDown, "the maintenance page does not answer: "+mt.page.why(mt.page.instances[0]))
	}
}

// mention adds the maintenance itself: users are not served, so the app is not ok.
func (mt *maintenance) mention(v *verdict) {
	switch {
	case mt.on == nil:
	case mt.on.Hold && v.health == HealthDown:
		v.reason += "; " + mt.sentence()
	default:
		v.add(HealthDegraded, mt.sentence())
	}
}

var errNoPage = errors.New("this daemon has no maintenance page")

// refuse says why an app cannot show a page.
func (mt *maintenance) refuse(page *api.MaintenancePage) error {
	if page == nil {
		return nil
	}
	if err := page.Validate(); err != nil {
		return &RefusedError{Usage: true, Err: err}
	}
	switch {
	case mt.opt.Page == nil:
		return &RefusedError{Err: errNoPage}
	case mt.owner.live == nil:
		return refusedAs("no release is live, so users reach nothing already; superctl switch RELEASE starts one")
	}
	gates := mt.gates()
	if len(gates) == 0 {
		return refusedAs("the app has no listener, so it has no users who could get a page")
	}
	for _, gate := range gates {
		name, address := gate.Name(), gate.Address()
		switch {
		case sharesQueue(gate):
			return refusedAs("listener %q (%s) has one queue for all generations, so superctl cannot send its connections to a page: "+
				`show the page in nginx, or let superctl open the listener itself (an address, without gate = "shared")`, name, address)
		case len(page.Allow) > 0 && !steers(gate):
			return refusedAs("listener %q (%s) is a path: its connections have no address that --allow could match; "+
				"leave out --allow, and let nginx choose who reaches the app (docs/maintenance.md)", name, address)
		}
	}
	return nil
}

// refusedAs refuses a request because of the state of the app.
func refusedAs(format string, args ...any) error {
	return &RefusedError{Err: fmt.Errorf(format, args...)}
}

// gates are those of the listeners that the app uses.
func (mt *maintenance) gates() []Gate {
	return slices.DeleteFunc(slices.Clone(mt.opt.Gates), func(gate Gate) bool {
		return slices.Contains(mt.opt.Unused, gate.Name())
	})
}

// coverable are the names of the listeners that a page can be in front of.
func (mt *maintenance) coverable() (names []string) {
	for _, gate := range mt.gates() {
		if !sharesQueue(gate) {
			names = append(names, gate.Name())
		}
	}
	return names
}

// open makes the generation of a page, with its listeners. Nothing of it is started.
func (mt *maintenance) open(p Process) (*generation, error) {
	p.Name, p.Listen, p.Instances, p.Strategy = pageProcess, mt.coverable(), 1, Overlap
	plan := Plan{Page: true, Release: Release{Name: api.InMaintenance}, Processes: []Process{p}, Settle: pageSettle}
	g := mt.owner.newGeneration(plan, mt.owner.listeners.gates, "")
	if err := g.openListeners(); err != nil {
		g.fail(nil, err.Error())
		g.retire()
		return nil, err
	}
	return g, nil
}

// pageSettle is how long the end of a page waits until its queue is empty. Its server needs
// milliseconds.
const pageSettle = 10 * time.Second

// show sends all connections to a page, in one instant for each gate; if one refuses, none goes there.
// The page before it, if any, is returned: it gets none any more.
func (mt *maintenance) show(g *generation, on *api.MaintenanceStatus) (before *generation, err error) {
	if name := g.lacks(); name != "" {
		return nil, fmt.Errorf("listener %q of the maintenance page is not held by this daemon", name)
	}
	var raised []*front
	for name, l := range ordered(g.staged) {
		f := frontOf(g.gates[name])
		if f == nil {
			continue
		}
		if err = f.raise(l.number, on.Allow); err != nil {
			err = fmt.Errorf("turn listener %q: %w", name, err)
			break
		}
		raised = append(raised, f)
	}
	if err != nil {
		for _, f := range raised {
			err = errors.Join(err, mt.back(f))
		}
		return nil, err
	}
	before = mt.page
	mt.on, mt.page, mt.tries, mt.why, mt.lost = on, g, 0, "", false
	g.tried = true
	mt.owner.journal.dirty = true
	return before, nil
}

// back turns a gate to where it was before a page that could not be shown everywhere.
func (mt *maintenance) back(f *front) error {
	if mt.page == nil {
		return f.lower()
	}
	return f.raise(mt.page.staged[f.Name()].number, mt.on.Allow)
}

// hide sends all connections to the app, and returns the page that had them. If a gate refuses, those
// that have turned go back to the page.
func (mt *maintenance) hide() (*generation, error) {
	var lowered []*front
	for key, gate := range mt.owner.listeners.everyGate() {
		f := frontOf(gate)
		if f == nil {
			continue
		}
		err := mt.aimBehind(f)
		if err == nil {
			err = f.lower()
		}
		if err != nil {
			err = fmt.Errorf("turn listener %q: %w", key, err)
			for _, f := range lowered {
				if l := mt.listenerOf(f); l.held() {
					err = errors.Join(err, f.raise(l.number, mt.on.Allow))
				}
			}
			return nil, err
		}
		lowered = append(lowered, f)
	}
	g := mt.page
	mt.on, mt.page, mt.lost = nil, nil, false
	mt.owner.journal.dirty = true
	return g, nil
}

// aimBehind notes where connections of a gate go without the page, if this daemon could not direct them
// to the live generation when it adopted that.
func (mt *maintenance) aimBehind(f *front) error {
	live, name := mt.owner.live, f.Name()
	if live == nil || live.gates[name] != Gate(f) || len(f.state().behind) > 0 {
		return nil
	}
	serving := live.serving(name)
	switch {
	case len(serving) > 0:
		return f.Spread(numbersOf(serving))
	case slices.Contains(live.plan.listeners(), name):
		return fmt.Errorf("it is held by the workers of generation %d only; superctl reload replaces them behind the page", live.id)
	}
	return nil
}

// listenerOf is the page's listener of a gate.
func (mt *maintenance) listenerOf(f *front) listener {
	if mt.page == nil || mt.page.gates[f.Name()] != Gate(f) {
		return listener{}
	}
	return mt.page.staged[f.Name()]
}

// recall takes up the maintenance of the state file: until its page is there, no gate turns to the app.
func (mt *maintenance) recall(st *state) {
	if st.Change != nil && st.Change.Kind == string(api.Maintenance) {
		st.Change, st.Target, st.From = nil, 0, 0 // what the file says is what holds; a page alone is withdrawn
	}
	if st.Maintenance != nil && st.Maintenance.Hold {
		st.Maintenance = nil // connections wait for the workers that this daemon starts
	}
	mt.on = st.Maintenance // also if this daemon only ends what runs: the next one goes on with it
	if mt.on == nil || mt.opt.End {
		return
	}
	for _, gate := range mt.owner.listeners.everyGate() {
		if f := frontOf(gate); f != nil {
			f.wait()
		}
	}
}

// adopt shows the page of an earlier daemon again, before the gates turn to the live generation. One
// whose listeners are lost, or are not those of the config any more, is replaced.
func (mt *maintenance) adopt() {
	if mt.on == nil || mt.opt.End {
		return
	}
	g := mt.owner.generations[mt.on.Generation]
	if g == nil || !g.plan.Page || g.state != Staged || len(g.instances) == 0 {
		return
	}
	if _, err := mt.show(g, mt.on); err != nil {
		mt.log.Error("the maintenance page of an earlier daemon is replaced", zap.Error(err))
		if g.lacks() == "" { // connections may reach it until another one is shown
			mt.page, mt.lost, g.tried = g, true, true
		}
		return
	}
	if name := mt.missing(); name != "" {
		mt.log.Warn("the maintenance page of an earlier daemon lacks a listener, and is replaced", zap.String("listener", name))
	}
}

// missing is a listener that the page should have and has not.
func (mt *maintenance) missing() string {
	for _, name := range mt.coverable() {
		if l := mt.page.staged[name]; !l.held() || l.gate != mt.owner.listeners.gates[name] {
			return name
		}
	}
	return ""
}

// ensure sees to it that there is a page while the app is in maintenance: after a restart of the
// machine or of the unit there is none. Its connections wait until its worker answers, because nothing
// else may serve them. It compares, so that a lost event does no harm.
func (mt *maintenance) ensure() {
	if mt.on == nil || mt.waiting || mt.owner.stopping || mt.owner.leaving || mt.opt.End ||
		mt.owner.change != nil && mt.owner.change.req.Kind == api.Maintenance {
		return
	}
	if mt.page != nil && !mt.lost && mt.missing() == "" && mt.page.lacks() == "" {
		return
	}
	before, err := mt.startAgain()
	if err != nil {
		mt.why = err.Error()
		mt.log.Error("start the maintenance page again", zap.Error(err))
		mt.tries++
		mt.waiting = true
		mt.postAfter(min(lastRetry, mt.backoff(mt.tries)), func() { mt.waiting = false })
		return
	}
	if before != nil {
		mt.async(before.withdrawAdopted)
	}
}

// startAgain is one try to show a page again.
func (mt *maintenance) startAgain() (before *generation, err error) {
	if mt.opt.Page == nil {
		return nil, errNoPage
	}
	p, err := mt.opt.Page(*mt.on, nil)
	if err != nil {
		return nil, err
	}
	g, err := mt.open(p)
	if err != nil {
		return nil, err
	}
	if before, err = mt.show(g, mt.on); err != nil {
		g.fail(nil, err.Error())
		g.retire()
		return nil, err
	}
	mt.async(func() {
		_ = mt.owner.journal.durable() // a failure says so itself, and is tried again
		_ = mt.do(func() { mt.start() })
	})
	return before, nil
}

// start starts what of the page does not run.
func (mt *maintenance) start() {
	if mt.page == nil {
		return
	}
	for _, in := range mt.page.instances {
		in.start()
	}
}

// beginMaintenance has the page of an earlier daemon go on, before the app is started.
func (s *Supervisor) beginMaintenance() {
	if s.live == nil && s.maintenance.page != nil {
		s.maintenance.page.awaitReady() // the change that adopts a live generation does so for all
	}
	s.maintenance.start()
	s.maintenance.ensure()
}

// shows reports whether a generation is that of the maintenance page.
func (st *state) shows(g *generation) bool {
	return st.Maintenance != nil && st.Maintenance.Generation == g.id && g.plan.Page && g.state == Staged
}
