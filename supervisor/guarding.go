package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/supervisor/guard"
	"superctl/supervisor/requests"
)

// Guard is how a process is guarded: by how much its new release may be worse.
type Guard struct {
	Off     bool          `json:"off,omitempty"`     // errors are not judged
	Warn    bool          `json:"warn,omitempty"`    // a release with more errors is only told
	Control int           `json:"control,omitempty"` // what the old release keeps in the probation, in 10,000
	Points  float64       `json:"points"`            // difference of the shares of errors, between 0 and 1
	Factor  float64       `json:"factor"`            // ratio of the shares
	Latency *GuardLatency `json:"latency,omitempty"`
	Rate    *GuardRate    `json:"rate,omitempty"`
}

// GuardRate is how a process is guarded whose new release stops answering.
type GuardRate struct {
	Warn bool `json:"warn,omitempty"` // it is only told
}

// GuardLatency is how the latency of a process is guarded.
type GuardLatency struct {
	Warn   bool    `json:"warn,omitempty"` // a slower release is only told
	Slower float64 `json:"slower"`         // how many times as long a quantile must be
}

// lookAtCounts is how often a guard reads what the workers have counted.
const lookAtCounts = time.Second

// guarding judges the new generation of a change by what its users get, next to the old one.
type guarding struct {
	*change
	canary    bool // the new generation is staged, and has its share
	tried     bool // it had one before the cutover
	apart     bool // the old generation cannot serve at the same time
	processes []*guarded
	uncounted []api.GuardReport // of processes that do not count
	controls  map[string]int    // what the old generation keeps of each listener's connections; nil = nothing

	ending    atomic.Bool // no further comparison begins
	comparing bool        // owned by Run, as of the last look
	trying    float64     // likewise: the part of the connections that the new release has in a canary
	divided   bool        // the gates were, at some time
	warned    []string
}

// guarded is one symptom of one process of a guarding.
type guarded struct {
	judged
	process     string
	together    bool // both releases serve all the time
	apart       bool // the old release cannot serve at the same time
	watch       watch
	control     int     // what the old release keeps of the connections, in 10,000
	divided     bool    // the old release has its part of them, as of the last look; owned by Run
	share       float64 // of the new connections that the new release had in the last second
	obstacle    api.RateObstacle
	before, now requests.Counts // of the old and the new release, as of the last look
	begun       span            // when the watch began, after the warm-up
	compared    span            // when the comparison began
	verdict     api.GuardVerdict
}

// watch judges a symptom second by second.
type watch interface {
	Add(s guard.Second) guard.Action
	Comparing() bool
	Facts() guard.Facts
}

// span is the durations that both releases had at one moment.
type span struct{ old, new requests.Histogram }

func newGuarding(c *change) *guarding { return &guarding{change: c} }

// run judges the new generation each second, until ctx ends or there is a verdict.
func (gd *guarding) run(ctx context.Context, fail context.CancelCauseFunc) {
	if gd.begin(); len(gd.processes) == 0 {
		return
	}
	_ = gd.owner.do(gd.arrange)
	ticker := time.NewTicker(lookAtCounts)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = gd.owner.do(gd.unite)
			return
		case <-ticker.C:
		}
		if err := gd.look(); err != nil {
			fail(err) // the gates stay divided until they turn back
			return
		}
	}
}

// idle waits until nothing is being compared. Meanwhile no comparison begins, as several symptoms
// could take turns for ever.
func (gd *guarding) idle(ctx context.Context) error {
	gd.ending.Store(true)
	defer gd.ending.Store(false)
	return gd.owner.await(ctx, func() (bool, error) { return !gd.comparing, nil })
}

// begin has the processes judged whose requests both releases count.
func (gd *guarding) begin() {
	if gd.from == nil || !gd.owner.counts.counts() || !turnsOver(gd.kind) {
		return
	}
	_ = gd.owner.do(gd.findSides)
	counts := gd.owner.counts.lookAtAll()
	for i := range gd.plan.Processes {
		p := &gd.plan.Processes[i]
		was := gd.from.plan.process(p.Name)
		if p.Guard == nil || len(p.Listen) == 0 || was == nil {
			continue
		}
		before, now := counts.sum(gd.from, p.Name), counts.sum(gd.to, p.Name)
		if before == nil || now == nil {
			gd.uncounted = append(gd.uncounted, notCounted(p, was, now))
			continue
		}
		gd.guard(p, before, now)
	}
}

// findSides finds out how both releases serve, for the owner.
func (gd *guarding) findSides() {
	gd.canary, gd.tried = gd.to.state == Staged, gd.to.tried
	gd.apart = !gd.canary && !gd.owner.listeners.mayDivide(gd.from, gd.to)
}

// notCounted is the report of a process of which one release does not count: the new one, if it has no
// counts.
func notCounted(p, was *Process, now *requests.Counts) api.GuardReport {
	r := api.GuardReport{Process: p.Name, Verdict: api.NotCounted, Server: p.Server}
	if now != nil {
		r.Server = was.Server
	}
	return r
}

// guard has each symptom of a process judged from now on. before and now are what the old and the new
// release have counted.
func (gd *guarding) guard(p *Process, before, now *requests.Counts) {
	if !gd.canary && !gd.tried {
		now = &requests.Counts{} // all that it has counted is since the cutover
	}
	control := 0
	if !gd.canary && !gd.apart {
		control = p.Guard.Control
	}
	if control > 0 {
		gd.keep(p)
	}
	for _, j := range p.Guard.symptoms(before) {
		gd.watchOver(&guarded{
			judged: j, process: p.Name, apart: gd.apart, together: gd.canary || control > 0, control: control,
			before: *before, now: *now,
		})
	}
}

// keep has the old generation keep a part of the connections of a process, as a control.
func (gd *guarding) keep(p *Process) {
	if gd.controls == nil {
		gd.controls = make(map[string]int)
	}
	for _, name := range p.Listen {
		gd.controls[name] = p.Guard.Control
	}
	gd.tell(fmt.Sprintf("%s: %s keeps %s %% of the connections", p.Name, gd.from.plan.Release.Name, api.Percent(p.Guard.Control)))
}

// watchOver has a symptom judged from now on.
func (gd *guarding) watchOver(g *guarded) {
	g.warn = g.warn || g.apart
	old := g.of(&g.before)
	if g.rate {
		gd.watchRate(g)
	} else {
		g.watch = gd.watchOf(g, old)
	}
	if old.Requests < g.least {
		g.verdict = api.NoVerdict
	}
	g.begin()
	gd.processes = append(gd.processes, g)
}

// watchOf returns a watch of the errors or of the slow answers.
func (gd *guarding) watchOf(g *guarded, old guard.Counts) watch {
	var w *guard.Watch
	switch {
	case gd.canary:
		w = guard.New(g.thresholds)
	case g.apart:
		w = guard.Alone(g.thresholds, old)
	case g.together:
		w = guard.Beside(g.thresholds, old)
	default:
		w = guard.After(g.thresholds, old)
	}
	if g.warms {
		w.AfterWarmUp()
	}
	return w
}

// begin has the durations judged from now on. Without simultaneous ones all of the old release count.
func (g *guarded) begin() {
	g.begun.new = g.now.Durations
	if g.together {
		g.begun.old = g.before.Durations
	}
}

// look takes the counts of one second.
func (gd *guarding) look() error {
	counts := gd.owner.counts.lookAtAll()
	for _, g := range gd.processes {
		before, now := counts.sum(gd.from, g.process), counts.sum(gd.to, g.process)
		if g.verdict != "" || gd.ending.Load() && !g.watch.Comparing() {
			continue
		}
		g.share = gd.shareOf(g)
		switch g.second(before, now, counts.whole) {
		case guard.Compare:
			gd.tell(g.sentence(gd.from) + ": compared with " + gd.from.plan.Release.Name)
		case guard.Worse:
			g.verdict = api.Worse
			if !g.warn {
				return gd.worse(g)
			}
			gd.warned = append(gd.warned, g.warning(gd.from))
		case guard.Release:
			gd.tell(g.title() + ": no difference")
		case guard.Continue:
		}
	}
	_ = gd.owner.do(gd.arrange)
	return nil
}

// second adds the counts of one second to those that are judged. Without counts time passes all the
// same: a comparison must end.
func (g *guarded) second(before, now *requests.Counts, whole bool) guard.Action {
	if !g.watch.Facts().Compared { // no comparison has begun, or it waits for a gate
		g.compared = span{old: g.before.Durations, new: g.now.Durations}
	}
	var second guard.Second
	if whole && before != nil && now != nil {
		second = guard.Second{
			New: g.of(now).Since(g.of(&g.now)), Old: g.of(before).Since(g.of(&g.before)), Share: g.share,
		}
		g.before, g.now = *before, *now
	}
	action := g.watch.Add(second)
	if g.watch.Facts().Seconds == 0 { // its warm-up
		g.begin()
	}
	return action
}

func (gd *guarding) tell(text string) {
	gd.emit(Event{Type: "progress", Step: gd.stepNow(), Detail: text})
}

// arrange divides the gates while something is compared, and for a control, for the owner.
func (gd *guarding) arrange() {
	if gd.owner.stopping || gd.to.reverted {
		return
	}
	gd.trying = 0
	if c := gd.to.canary; c != nil {
		gd.trying = c.Share / 100
	}
	gd.comparing = slices.ContainsFunc(gd.processes, func(g *guarded) bool { return g.verdict == "" && g.watch.Comparing() })
	switch {
	case gd.comparing:
		gd.owner.listeners.divide(gd.from, gd.to, nil)
	case gd.controls != nil:
		gd.owner.listeners.divide(gd.from, gd.to, gd.controls)
	default:
		gd.owner.listeners.unite()
	}
	gd.divided = gd.divided || gd.owner.listeners.divided != nil
	gd.noteDivided()
}

// noteDivided notes of which processes the old generation serves, too. A gate may have refused.
func (gd *guarding) noteDivided() {
	for _, g := range gd.processes {
		g.divided = !slices.ContainsFunc(gd.plan.process(g.process).Listen, func(name string) bool {
			return !gd.owner.listeners.divided.gives(name)
		})
	}
}

// unite ends all comparisons, for the owner.
func (gd *guarding) unite() {
	gd.comparing = false
	gd.owner.listeners.unite()
}

// worse is the verdict, as a failure.
func (gd *guarding) worse(g *guarded) error {
	log := ask(gd.owner.core, func() (lines []string) {
		for _, in := range gd.to.of(g.process) {
			if trace := in.tail.Traceback(); trace != nil {
				lines = trace
			}
		}
		return lines
	})
	return &failure{reason: g.sentence(gd.from), log: log, guard: true}
}

// conclude puts what the guard has seen into the change, in its goroutine, and returns it in a few
// words; "" when there was nothing to guard. failed is what has ended it.
func (gd *guarding) conclude(failed error) string {
	if gd.divided && !gd.canary && failed == nil && gd.from.partEnded(context.Background()) {
		_, _ = gd.settle(context.Background(), gd.from) // it had connections again
	}
	for _, text := range gd.warned {
		gd.warnOf(text)
	}
	reports := slices.Clone(gd.uncounted)
	for _, g := range gd.processes {
		reports = append(reports, g.report())
	}
	gd.judged = append(gd.judged, reports...)
	return inFewWords(reports)
}

// inFewWords returns what the reports say, and of which process if there are several.
func inFewWords(reports []api.GuardReport) string {
	var said []string
	for _, r := range reports {
		text := r.String()
		if r.Process != reports[0].Process || r.Process != reports[len(reports)-1].Process {
			text = r.Process + " " + text
		}
		said = append(said, text)
	}
	return strings.Join(slices.Compact(said), ", ")
}

func (gd *guarding) warnOf(text string) { gd.warn("%s", text) }

// sentence says what was counted: "web: 5xx 0.4 % -> 31 % (124 of 400 requests in 9 s; r41 had 3 of 812)".
func (g *guarded) sentence(from *generation) string {
	r := g.report()
	return g.process + ": " + g.judged.sentence(&r, from.plan.Release.Name)
}

// title names what is judged, such as "web" or "web: p95".
func (g *guarded) title() string {
	if name := g.name(); name != "" {
		return g.process + ": " + name
	}
	return g.process
}

func (g *guarded) warning(from *generation) string {
	if g.apart {
		return fmt.Sprintf("%s; not reverted, because %s cannot serve at the same time to compare", g.sentence(from),
			from.plan.Release.Name)
	}
	return g.sentence(from) + `; not reverted, because the guard is set to "warn"`
}

func (g *guarded) report() api.GuardReport {
	f := g.watch.Facts()
	r := api.GuardReport{
		Process: g.process, Verdict: g.verdict, Requests: f.New.Requests, OldRequests: f.Old.Requests, Seconds: f.Seconds,
	}
	from := g.begun
	if f.Compared {
		from = g.compared
	}
	old, now := g.before.Since(&requests.Counts{Durations: from.old}), g.now.Since(&requests.Counts{Durations: from.new})
	g.judged.report(&r, f, &old.Durations, &now.Durations)
	if g.rate {
		g.reportRate(&r)
	}
	switch {
	case r.Verdict == api.NoVerdict && g.rate:
		r.OldRequests = g.of(&g.before).Requests
	case r.Verdict == api.NoVerdict: // the old release had too few answers
		r.OldRequests, r.Latency = g.of(&g.before).Requests, &api.GuardLatency{}
	case r.Verdict != "":
	case r.Requests < guard.Enough:
		r.Verdict = api.NoVerdict
	default:
		r.Verdict = api.NoWorse
	}
	return r
}

// looked is what all workers have counted at one look.
type looked struct {
	places map[string]*requests.Reading
	claims map[string]int // the generation of an instance, by its place
	whole  bool
}

// lookAtAll looks at what all workers have counted, for a goroutine other than the owner.
func (c *counting) lookAtAll() looked {
	l := looked{claims: make(map[string]int)}
	_ = c.do(func() {
		for _, g := range c.owner.generations {
			for _, in := range g.instances {
				l.claims[in.place] = g.id
			}
		}
	})
	report, err := c.look()
	if err != nil {
		c.log.Warn("a change cannot read all counts of requests", zap.Error(err))
	}
	l.places, l.whole = report.Places, err == nil
	return l
}

// sum returns what a process has counted in a generation; nil if it does not count.
func (l *looked) sum(g *generation, process string) *requests.Counts {
	var sum requests.Counts
	counts := false
	for place, r := range l.places {
		mine := generationOf(place) == strconv.Itoa(g.id)
		if id, claimed := l.claims[place]; claimed {
			mine = id == g.id
		}
		if mine && r.Counting && requests.Process(place) == process {
			counts = true
			sum.Add(&r.Counts)
		}
	}
	if !counts {
		return nil
	}
	return &sum
}
