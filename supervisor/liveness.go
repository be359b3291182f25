package supervisor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/health"
)

// A process is replaced again firstReplacement after its health check has had it replaced, then
// after twice as long each time up to lastReplacement: what a new worker does not mend, a third and
// a fourth will not.
const (
	firstReplacement = time.Minute
	lastReplacement  = time.Hour
)

// healthChecker is who asks for the changes that a continuous health check makes.
const healthChecker = "the health check"

// liveness runs the continuous health checks of the live generation, and replaces what hangs.
type liveness struct {
	*core
	owner     *Supervisor
	pulses    map[string]*pulse // by instance.lane
	replacing map[string]*replacements
}

func newLiveness(s *Supervisor) liveness {
	return liveness{
		core: s.core, owner: s, pulses: make(map[string]*pulse), replacing: make(map[string]*replacements),
	}
}

// pulse is the continuous health check of one lane of the live generation. Owned by Run.
type pulse struct {
	of     *instance // the first of the lane
	turn   int       // of its worker
	cancel context.CancelFunc
	misses int // rounds in a row without an answer
	bad    int // rounds in a row with a bad one
}

// hung reports whether the lane has given no answer for so long that it is replaced.
func (p *pulse) hung() bool { return p.misses >= p.of.proc.Health.Always.Failures }

// healthOf is what the name of a trouble of a lane begins with.
const healthOf = "health of "

func (p *pulse) trouble() string { return healthOf + p.of.lane() }

// replacements is when a process was replaced by its health check. Owned by Run.
type replacements struct {
	tries   int
	last    time.Time
	waiting bool
}

// check asks each lane of the live generation whose config wants that. What is not asked for costs
// nothing: an idle daemon does not wake up.
func (lv *liveness) check() {
	wanted := lv.wanted()
	for lane, p := range ordered(lv.pulses) {
		if in := wanted[lane]; in != p.of || in.turn != p.turn {
			p.cancel()
			delete(lv.pulses, lane)
		}
	}
	lv.endTroubles(wanted)
	for lane, in := range ordered(wanted) {
		if lv.pulses[lane] == nil {
			lv.pulses[lane] = lv.begin(in)
		}
	}
}

// wanted returns the first instance of each lane that is to be checked: none during a change, which
// replaces workers itself.
func (lv *liveness) wanted() map[string]*instance {
	if lv.owner.live == nil || lv.owner.change != nil || lv.owner.stopping || lv.owner.leaving {
		return nil
	}
	wanted := make(map[string]*instance)
	for _, in := range lv.owner.live.instances {
		if in.isChecked() && wanted[in.lane()] == nil {
			wanted[in.lane()] = in
		}
	}
	return wanted
}

// isChecked reports whether the continuous health check asks an instance.
func (in *instance) isChecked() bool {
	h := in.proc.Health
	return h != nil && h.Always != nil && in.state == InstanceReady && in.wanted
}

// endTroubles ends the troubles of lanes that are not checked any more.
func (lv *liveness) endTroubles(wanted map[string]*instance) {
	if lv.owner.change != nil {
		return
	}
	for of := range ordered(lv.owner.health.troubles) {
		if lane, ok := strings.CutPrefix(of, healthOf); ok && wanted[lane] == nil {
			lv.owner.health.report(Trouble{Of: of})
		}
	}
}

// begin begins to ask a lane.
func (lv *liveness) begin(in *instance) *pulse {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pulse{of: in, turn: in.turn, cancel: cancel}
	asks, interval := in.proberOf(), in.proc.Health.Always.Interval
	lv.async(func() {
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
		asks.ask(ctx, func(health.Result) time.Duration { return interval }, func(r health.Result) bool {
			lv.post(func() { lv.take(p, r) })
			select {
			case <-lv.done:
				return false
			default:
				return true
			}
		})
	})
	return p
}

// take takes the result of a round. A worker that answers, however badly, is not hung: another one
// would answer the same, and it is only told. One without an answer is replaced.
func (lv *liveness) take(p *pulse, r health.Result) {
	if lv.pulses[p.of.lane()] != p {
		return
	}
	failures := p.of.proc.Health.Always.Failures
	switch {
	case r.OK:
		p.misses, p.bad = 0, 0
		lv.owner.health.report(Trouble{Of: p.trouble()})
	case r.Answered:
		p.misses, p.bad = 0, p.bad+1
		if p.bad >= failures {
			lv.owner.health.report(Trouble{
				Of: p.trouble(), Health: HealthDegraded,
				Why: fmt.Sprintf("%s answers, and fails its health check: %s", p.of.lane(), r.Reason),
			})
		}
	default:
		p.misses++
		if p.hung() {
			lv.owner.health.report(Trouble{Of: p.trouble(), Health: lv.hungHealth(p), Why: lv.hungReason(p, r)})
			lv.replaceHung(p)
		}
	}
}

func (lv *liveness) hungReason(p *pulse, r health.Result) string {
	text := fmt.Sprintf("%s has not answered its health check %d times in a row: %s", p.of.lane(), p.misses, r.Reason)
	if l := lv.count(p.of.proc); len(p.of.proc.Listen) == 0 && l.all > 1 && l.serving == 0 {
		text += fmt.Sprintf("; no other instance answers either, so what they need may be down, and none is replaced (superctl restart %s does)",
			p.of.proc.Name)
	}
	return text
}

// hungHealth is what a hung lane makes of the app's health.
func (lv *liveness) hungHealth(p *pulse) string {
	if l := lv.count(p.of.proc); len(p.of.proc.Listen) > 0 && l.serving == 0 && !l.undecided {
		return HealthDown
	}
	return HealthDegraded
}

// laneCount is how the lanes of a process are.
type laneCount struct {
	all       int
	serving   int  // that have answered when they were last asked, or were not asked yet
	undecided bool // one has not answered, and is not hung yet
}

func (lv *liveness) count(proc *Process) (l laneCount) {
	seen := make(map[string]bool)
	for _, in := range lv.owner.live.of(proc.Name) {
		if seen[in.lane()] {
			continue
		}
		seen[in.lane()] = true
		l.all++
		switch p := lv.pulses[in.lane()]; {
		case p == nil: // it is starting, or stopping
		case p.misses > 0:
			l.undecided = l.undecided || !p.hung()
		default:
			l.serving++
		}
	}
	return l
}

// replaceHung begins to replace a hung lane, one thing at a time: a change is in progress until it
// is done.
//
// Where no lane of a process serves, what they need may be down, and not they. Then the process is
// restarted as a whole: the new workers must prove themselves before the old ones go, so a broken
// database leaves everything as it is. A process without listeners cannot be proved next to its old self,
// so of several instances that all hang none is replaced.
//
// It is decided again by each round in which the lane does not answer: an outage ends for one lane
// a moment before it does for another.
func (lv *liveness) replaceHung(p *pulse) {
	proc := p.of.proc
	l := lv.count(proc)
	if lv.record(proc.Name).waiting || l.undecided || len(proc.Listen) == 0 && l.all > 1 && l.serving == 0 {
		return
	}
	req := Request{
		Kind: Restart, Process: proc.Name, Who: healthChecker, Cause: lv.owner.health.troubles[p.trouble()].Why,
	}
	if l.serving > 0 || len(proc.Listen) == 0 {
		req.Instance = &p.of.index
	}
	lv.replaceBy(req)
}

// replaceBy begins a change that the health check asks for, and sets when the next one may follow.
func (lv *liveness) replaceBy(req Request) {
	lv.log.Warn("replace a hung worker", zap.String("process", req.Process), zap.String("why", req.Cause))
	r := lv.record(req.Process)
	if time.Since(r.last) > 2*lastReplacement {
		r.tries = 0
	}
	wait := replacementWait(r.tries)
	r.waiting, r.last, r.tries = true, time.Now(), r.tries+1
	if err := lv.owner.admission.beginOwn(req); err != nil {
		lv.log.Error("replace a hung worker", zap.String("process", req.Process), zap.Error(err))
	}
	lv.postAfter(wait, func() { r.waiting = false })
}

// replacementWait returns how long a process is not replaced again after so many replacements.
func replacementWait(before int) time.Duration {
	if before < 6 {
		return firstReplacement << before
	}
	return lastReplacement
}

func (lv *liveness) record(process string) *replacements {
	if lv.replacing[process] == nil {
		lv.replacing[process] = &replacements{}
	}
	return lv.replacing[process]
}
