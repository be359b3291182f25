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

// feelPulses has each lane of the live generation asked whose config wants that, but never during a
// change: it would meddle. What is not asked for costs nothing: an idle daemon does not wake up.
func (s *Supervisor) feelPulses() {
	wanted := make(map[string]*instance)
	if s.live != nil && s.change == nil && !s.stopping && !s.leaving {
		for _, in := range s.live.instances {
			if h := in.proc.Health; h == nil || h.Always == nil || in.state != InstanceReady || !in.wanted {
				continue
			}
			if wanted[in.lane()] == nil {
				wanted[in.lane()] = in
			}
		}
	}
	for lane, p := range ordered(s.pulses) {
		if in := wanted[lane]; in != p.of || in.turn != p.turn {
			p.cancel()
			delete(s.pulses, lane)
		}
	}
	for of := range ordered(s.troubles) {
		if lane, ok := strings.CutPrefix(of, healthOf); ok && s.change == nil && wanted[lane] == nil {
			s.report(Trouble{Of: of}) // it is over: nobody asks that lane any more
		}
	}
	for lane, in := range ordered(wanted) {
		if s.pulses[lane] == nil {
			s.pulses[lane] = s.feel(in)
		}
	}
}

// feel begins to ask a lane.
func (s *Supervisor) feel(in *instance) *pulse {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pulse{of: in, turn: in.turn, cancel: cancel}
	asks, interval := s.proberOf(in), in.proc.Health.Always.Interval
	s.beside(func() {
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
		asks.ask(ctx, func(health.Result) time.Duration { return interval }, func(r health.Result) bool {
			s.post(func() { s.felt(p, r) })
			select {
			case <-s.done:
				return false
			default:
				return true
			}
		})
	})
	return p
}

// felt takes the result of a round. A worker that answers, however badly, is not hung: another one
// would answer the same, and it is only told. One without an answer is replaced.
func (s *Supervisor) felt(p *pulse, r health.Result) {
	if s.pulses[p.of.lane()] != p {
		return
	}
	failures := p.of.proc.Health.Always.Failures
	switch {
	case r.OK:
		p.misses, p.bad = 0, 0
		s.report(Trouble{Of: p.trouble()})
	case r.Answered:
		p.misses, p.bad = 0, p.bad+1
		if p.bad >= failures {
			s.report(Trouble{
				Of: p.trouble(), Health: HealthDegraded,
				Why: fmt.Sprintf("%s answers, and fails its health check: %s", p.of.lane(), r.Reason),
			})
		}
	default:
		p.misses++
		if p.hung() {
			s.report(Trouble{Of: p.trouble(), Health: s.hungHealth(p), Why: s.hungText(p, r)})
			s.replaceHung(p)
		}
	}
}

func (s *Supervisor) hungText(p *pulse, r health.Result) string {
	text := fmt.Sprintf("%s has not answered its health check %d times in a row: %s", p.of.lane(), p.misses, r.Reason)
	if l := s.countLanes(p.of.proc); len(p.of.proc.Listen) == 0 && l.all > 1 && l.serving == 0 {
		text += fmt.Sprintf("; no other instance answers either, so what they need may be down, and none is replaced (superctl restart %s does)",
			p.of.proc.Name)
	}
	return text
}

// hungHealth is what a hung lane makes of the app's health.
func (s *Supervisor) hungHealth(p *pulse) string {
	if l := s.countLanes(p.of.proc); len(p.of.proc.Listen) > 0 && l.serving == 0 && !l.unsure {
		return HealthDown
	}
	return HealthDegraded
}

// laneCount is how the lanes of a process are.
type laneCount struct {
	all     int
	serving int  // that have answered when they were last asked, or were not asked yet
	unsure  bool // one has not answered, and is not hung yet
}

func (s *Supervisor) countLanes(proc *Process) (l laneCount) {
	seen := make(map[string]bool)
	for _, in := range s.live.of(proc.Name) {
		if seen[in.lane()] {
			continue
		}
		seen[in.lane()] = true
		l.all++
		switch p := s.pulses[in.lane()]; {
		case p == nil: // it is starting, or stopping
		case p.misses > 0:
			l.unsure = l.unsure || !p.hung()
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
// database leaves everything as it is. A process without listeners cannot be proved beside itself,
// so of several instances that all hang none is replaced.
//
// It is decided anew by each round in which the lane does not answer: an outage ends for one lane a
// moment before it does for another.
func (s *Supervisor) replaceHung(p *pulse) {
	proc := p.of.proc
	l := s.countLanes(proc)
	if s.replaced(proc.Name).waiting || l.unsure || len(proc.Listen) == 0 && l.all > 1 && l.serving == 0 {
		return
	}
	req := Request{Kind: Restart, Process: proc.Name, Who: healthChecker, Cause: s.troubles[p.trouble()].Why}
	if l.serving > 0 || len(proc.Listen) == 0 {
		req.Instance = &p.of.index
	}
	s.replaceBy(req)
}

// replaceBy begins a change that the health check asks for, and sets when the next one may follow.
func (s *Supervisor) replaceBy(req Request) {
	s.log.Warn("replace a hung worker", zap.String("process", req.Process), zap.String("why", req.Cause))
	r := s.replaced(req.Process)
	if time.Since(r.last) > 2*lastReplacement {
		r.tries = 0
	}
	wait := lastReplacement
	if r.tries < 6 {
		wait = firstReplacement << r.tries
	}
	r.waiting, r.last, r.tries = true, time.Now(), r.tries+1
	c, _, err := s.begin(req)
	if err != nil {
		s.log.Error("replace a hung worker", zap.String("process", req.Process), zap.Error(err))
	} else {
		s.beside(func() {
			for range c.events { // nobody watches; the outcome is in the history
			}
			<-c.done
		})
	}
	time.AfterFunc(wait, func() { s.post(func() { r.waiting = false }) })
}

func (s *Supervisor) replaced(process string) *replacements {
	if s.replacing[process] == nil {
		s.replacing[process] = &replacements{}
	}
	return s.replacing[process]
}
