package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/supervisor/guard"
	"superctl/supervisor/requests"
)

// Guard is how a process is guarded: by how much its new release may be worse.
type Guard struct {
	Warn   bool    `json:"warn,omitempty"` // a worse release is only told
	Points float64 `json:"points"`         // difference of the shares of errors, between 0 and 1
	Factor float64 `json:"factor"`         // ratio of the shares
}

// lookAtCounts is how often a guard reads what the workers have counted.
const lookAtCounts = time.Second

// guarding judges the new generation of a change by what its users get, next to the old one.
type guarding struct {
	*change
	canary    bool // the new generation is staged, and has its share
	processes []*guarded
	uncounted []api.GuardReport // of processes that do not count

	comparing bool // owned by Run
	divided   bool // it was, at some time
	warned    []string
}

// guarded is one process of a guarding.
type guarded struct {
	name        string
	warn        bool
	apart       bool // the old release cannot serve at the same time
	watch       *guard.Watch
	before, now guard.Counts // of the old and the new release, as of the last look
	verdict     api.GuardVerdict
}

func newGuarding(c *change) *guarding { return &guarding{change: c} }

// run judges the new generation each second, until ctx ends or there is a verdict.
func (gd *guarding) run(ctx context.Context, fail context.CancelCauseFunc) {
	if gd.begin(); len(gd.processes) == 0 {
		return
	}
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

// idle waits until nothing is being compared.
func (gd *guarding) idle(ctx context.Context) error {
	return gd.owner.await(ctx, func() (bool, error) { return !gd.comparing, nil })
}

// begin finds the processes that can be judged.
func (gd *guarding) begin() {
	if gd.from == nil || !gd.owner.counts.counts() || !turnsOver(gd.kind) {
		return
	}
	apart, tried := false, false
	_ = gd.owner.do(func() {
		gd.canary, tried = gd.to.state == Staged, gd.to.tried
		apart = !gd.canary && !gd.owner.listeners.mayDivide(gd.from, gd.to)
	})
	counts := gd.owner.counts.lookAtAll()
	for i := range gd.plan.Processes {
		p := &gd.plan.Processes[i]
		was := gd.from.plan.process(p.Name)
		if p.Guard == nil || len(p.Listen) == 0 || was == nil {
			continue
		}
		before, now := counts.of(gd.from, p.Name), counts.of(gd.to, p.Name)
		if before == nil || now == nil {
			r := api.GuardReport{Process: p.Name, Verdict: api.NotCounted, Server: p.Server}
			if now != nil {
				r.Server = was.Server
			}
			gd.uncounted = append(gd.uncounted, r)
			continue
		}
		t := guard.Thresholds{Points: p.Guard.Points, Factor: p.Guard.Factor}
		g := &guarded{name: p.Name, warn: p.Guard.Warn || apart, apart: apart, before: *before, now: *now}
		switch {
		case gd.canary:
			g.watch = guard.New(t)
		case apart:
			g.watch = guard.Alone(t, *before)
		default:
			g.watch = guard.After(t, *before)
		}
		if !gd.canary && !tried {
			g.now = guard.Counts{} // all that it has counted is since the cutover
		}
		gd.processes = append(gd.processes, g)
	}
}

// look takes the counts of one second.
func (gd *guarding) look() error {
	counts := gd.owner.counts.lookAtAll()
	for _, g := range gd.processes {
		before, now := counts.of(gd.from, g.name), counts.of(gd.to, g.name)
		if g.verdict != "" {
			continue
		}
		var second guard.Second // without counts time passes all the same: a comparison must end
		if counts.whole && before != nil && now != nil {
			second = guard.Second{New: now.Since(g.now), Old: before.Since(g.before)}
			g.before, g.now = *before, *now
		}
		switch g.watch.Add(second) {
		case guard.Compare:
			gd.tell(g.sentence(gd.from) + ": compared with " + gd.from.plan.Release.Name)
		case guard.Worse:
			g.verdict = api.Worse
			if !g.warn {
				return gd.worse(g)
			}
			gd.warned = append(gd.warned, g.warning(gd.from))
		case guard.Release:
			gd.tell(g.name + ": no difference")
		case guard.Continue:
		}
	}
	_ = gd.owner.do(gd.arrange)
	return nil
}

func (gd *guarding) tell(text string) {
	gd.emit(Event{Type: "progress", Step: gd.stepNow(), Detail: text})
}

// arrange divides the gates while something is compared, for the owner.
func (gd *guarding) arrange() {
	wanted := slices.ContainsFunc(gd.processes, func(g *guarded) bool { return g.verdict == "" && g.watch.Comparing() })
	ls := &gd.owner.listeners
	switch {
	case gd.owner.stopping || gd.to.reverted:
	case wanted && !gd.comparing:
		gd.comparing, gd.divided = true, true
		ls.divide(gd.from, gd.to)
	case wanted:
		ls.divideOn()
	case gd.comparing:
		gd.unite()
	}
}

// unite ends a comparison, for the owner.
func (gd *guarding) unite() {
	if gd.comparing {
		gd.comparing = false
		gd.owner.listeners.unite()
	}
}

// worse is the verdict, as a failure.
func (gd *guarding) worse(g *guarded) error {
	log := ask(gd.owner.core, func() (lines []string) {
		for _, in := range gd.to.of(g.name) {
			if trace := lastTraceback(in.tail.Lines()); trace != nil {
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
	var said []string
	for _, r := range reports {
		text := r.String()
		if len(reports) > 1 {
			text = r.Process + " " + text
		}
		said = append(said, text)
	}
	return strings.Join(said, ", ")
}

func (gd *guarding) warnOf(text string) { gd.warn("%s", text) }

// sentence says what was counted: "web: 5xx 0.4 % -> 31 % (124 of 400 requests in 9 s; r41 had 3 of 812)".
func (g *guarded) sentence(from *generation) string {
	f := g.watch.Facts()
	return fmt.Sprintf("%s: %s %s -> %s (%d of %d requests in %d s; %s had %d of %d)", g.name,
		api.ErrorsName(f.New.Broken+f.Old.Broken), percent(f.Old.Share()), percent(f.New.Share()), f.New.Errors, f.New.Requests, f.Seconds,
		from.plan.Release.Name, f.Old.Errors, f.Old.Requests)
}

func (g *guarded) warning(from *generation) string {
	if g.apart {
		return fmt.Sprintf("%s; not reverted, because %s cannot serve at the same time to compare", g.sentence(from),
			from.plan.Release.Name)
	}
	return g.sentence(from) + `; not reverted, because the guard is set to "warn"`
}

// percent formats a share: "0.4 %", "31 %".
func percent(share float64) string {
	if p := 100 * share; p < 10 {
		return strconv.FormatFloat(float64(int(p*10+0.5))/10, 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(100*share, 'f', 0, 64) + " %"
}

func (g *guarded) report() api.GuardReport {
	f := g.watch.Facts()
	r := api.GuardReport{
		Process: g.name, Verdict: g.verdict, Requests: f.New.Requests, Errors: f.New.Errors,
		OldRequests: f.Old.Requests, OldErrors: f.Old.Errors, Seconds: f.Seconds, Broken: f.New.Broken, OldBroken: f.Old.Broken,
	}
	switch {
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

// of returns what a process has counted in a generation, for the guard; nil if it does not count.
func (l *looked) of(g *generation, process string) *guard.Counts {
	sum := l.sum(g, process)
	if sum == nil {
		return nil
	}
	// What the client has aborted tells nothing of the release, and 1xx are WebSockets.
	c := &guard.Counts{Requests: sum.Broken, Errors: sum.Answered[4] + sum.Broken, Broken: sum.Broken}
	for _, n := range sum.Answered[1:] {
		c.Requests += n
	}
	return c
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

// traceLines is the most lines of a traceback that a report has.
const traceLines = 20

// lastTraceback returns the end of the last traceback of Python in the lines; nil if there is none.
func lastTraceback(lines []string) []string {
	for from := len(lines) - 1; from >= 0; from-- {
		if !strings.HasPrefix(lines[from], "Traceback (most recent call last)") {
			continue
		}
		to := from + 1
		for to < len(lines) && (strings.HasPrefix(lines[to], " ") || lines[to] == "") {
			to++
		}
		if to == len(lines) {
			continue // it is not complete
		}
		return slices.Clone(lines[max(from, to+1-traceLines) : to+1])
	}
	return nil
}
