package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/schedule"
)

// Cron is a command that runs at certain times, in the live release.
type Cron struct {
	Name     string        `json:"name"`
	Schedule string        `json:"schedule"`           // as package schedule understands it
	Timezone string        `json:"timezone,omitempty"` // "" = that of the machine
	Command  []string      `json:"command"`
	Overlap  CronOverlap   `json:"overlap"`
	Timeout  time.Duration `json:"timeout"`       // of a run
	One      bool          `json:"one,omitempty"` // not on a host that follows another one in a run
}

// CronOverlap says what happens when a command is due while it still runs.
type CronOverlap string

// The kinds of overlap.
const (
	CronForbid  CronOverlap = "forbid"  // it is skipped
	CronAllow   CronOverlap = "allow"   // both run
	CronReplace CronOverlap = "replace" // the one that runs is ended first
)

const (
	// mostCronRuns limits how many runs of a command overlap.
	mostCronRuns = 10
	// clockPast is how far a clock may be set back before what has been due counts as not due yet: a
	// clock that was wrong by more would keep a command from running until it is right again.
	clockPast = 3 * time.Hour
	scheduler = "cron"
)

// cronState is what is remembered of a scheduled command, by the next daemon too. At what times it
// was due until Seen is decided: it has begun, or was skipped.
type cronState struct {
	Schedule string        `json:"schedule"` // that Seen is of, with its time zone
	Seen     time.Time     `json:"seen"`
	Skipped  int           `json:"skipped,omitempty"`
	Running  []api.CronRun `json:"running,omitempty"`
	Last     *api.CronRun  `json:"last,omitempty"`
}

// scheduling runs the scheduled commands of the live generation. It looks at the clock of the machine
// rather than at the time that passes: a clock that is set makes commands due.
//
// A run is in the state file before its command starts, so no time is run twice, and a daemon that
// dies has its command ended by the next one, which records that.
type scheduling struct {
	*core
	owner     *Supervisor
	states    map[string]*cronState
	runs      []*cronRun // that have begun and not ended
	clocks    map[string]*cronClock
	alarm     *cronAlarm // nil = none is set
	follower  bool       // another host was the leader of the last run
	suspended bool       // this daemon is about to end
	idle      chan struct{}
	number    int // of the newest run
}

// cronClock is a parsed schedule, and when it is due first after a time. Owned by Run.
type cronClock struct {
	parsed *schedule.Schedule // nil = it is being parsed, or err
	err    error
	after  time.Time
	next   time.Time
	never  bool
}

// cronAlarm is the next time at which a command is due. Owned by Run.
type cronAlarm struct {
	at   time.Time
	stop func()
}

func newScheduling(s *Supervisor) scheduling {
	return scheduling{
		core: s.core, owner: s, states: make(map[string]*cronState), clocks: make(map[string]*cronClock),
	}
}

// check begins what is due, and sets the alarm for what is due next. Without scheduled commands it
// costs nothing.
func (sc *scheduling) check() {
	var earliest time.Time
	if sc.reason() == "" {
		now := wallClock()
		sc.forget()
		for i := range sc.owner.live.plan.Cron {
			c := &sc.owner.live.plan.Cron[i]
			if next, ok := sc.due(c, now); ok && !next.After(now) {
				sc.begin(c, next, now)
			}
			if next, ok := sc.due(c, now); ok && next.After(now) && (earliest.IsZero() || next.Before(earliest)) {
				earliest = next
			}
		}
	}
	sc.setAlarm(earliest)
}

// wallClock returns what the clock of the machine shows. Times of it are compared by what it shows,
// not by how much time has passed.
func wallClock() time.Time { return time.Now().Round(0) }

// reason returns why no scheduled command may begin now; "" = it may. One must not meet a database
// that is being migrated, or an app that is held.
func (sc *scheduling) reason() string {
	s := sc.owner
	switch {
	case s.stopping || s.leaving || sc.suspended:
		return ErrStopping.Error()
	case s.live == nil:
		return "no release is live"
	case s.live.held:
		return "connections are held"
	case s.change != nil && slices.Contains([]string{
		stepInspect, stepBefore, stepQuiesce, stepHold, stepDrain, stepCutover, stepRevert, stepComeBack,
	}, s.change.stepName):
		return fmt.Sprintf("the step %s of a %s is in progress", s.change.stepName, s.change.req.Kind)
	}
	return ""
}

// forget drops what is remembered of commands that are not scheduled here any more. One that is
// scheduled again is not caught up.
func (sc *scheduling) forget() {
	maps.DeleteFunc(sc.states, func(name string, st *cronState) bool {
		c := sc.owner.live.plan.cron(name)
		gone := (c == nil || !sc.mine(c)) && len(st.Running) == 0
		sc.owner.journal.dirty = sc.owner.journal.dirty || gone
		return gone
	})
}

// mine reports whether this host runs a command.
func (sc *scheduling) mine(c *Cron) bool { return !c.One || !sc.follower }

func (p *Plan) cron(name string) *Cron {
	for i := range p.Cron {
		if p.Cron[i].Name == name {
			return &p.Cron[i]
		}
	}
	return nil
}

// due returns when a command is due first, which may be in the past; false = never, or that is not
// known yet.
func (sc *scheduling) due(c *Cron, now time.Time) (time.Time, bool) {
	if !sc.mine(c) {
		return time.Time{}, false
	}
	st, clock := sc.state(c, now), sc.clock(c)
	if clock.parsed == nil {
		return time.Time{}, false
	}
	if !clock.after.Equal(st.Seen) {
		next, ok := clock.parsed.Next(st.Seen)
		clock.after, clock.next, clock.never = st.Seen, next, !ok
	}
	return clock.next, !clock.never
}

// state returns what is remembered of a command. With a new schedule nothing is to be caught up.
func (sc *scheduling) state(c *Cron, now time.Time) *cronState {
	st, key := sc.states[c.Name], c.key()
	if st == nil {
		st = new(cronState)
		sc.states[c.Name] = st
	}
	if st.Schedule != key || st.Seen.After(now.Add(clockPast)) {
		st.Schedule, st.Seen, sc.owner.journal.dirty = key, now, true
	}
	return st
}

// key tells schedules apart.
func (c *Cron) key() string { return c.Schedule + " in " + c.zone() }

func (c *Cron) zone() string { return cmp.Or(c.Timezone, "Local") }

// clock returns the parsed schedule of a command. To parse one, the files of its time zone are read,
// so the owner does not wait for that.
func (sc *scheduling) clock(c *Cron) *cronClock {
	key := c.key()
	clock := sc.clocks[key]
	if clock != nil {
		return clock
	}
	clock = new(cronClock)
	sc.clocks[key] = clock
	text, zone, name := c.Schedule, c.zone(), c.Name
	sc.async(func() {
		parsed, err := parseSchedule(text, zone)
		if err != nil {
			sc.log.Error("parse a schedule", zap.String("cron", name), zap.Error(err))
		}
		sc.enter(scheduler)
		sc.post(func() { clock.parsed, clock.err = parsed, err })
	})
	return clock
}

func parseSchedule(text, zone string) (*schedule.Schedule, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, err
	}
	s, err := schedule.Parse(text, loc)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", text, err)
	}
	return s, nil
}

// begin begins a run that is due, unless an earlier one is in its way. Times that were missed, such
// as while no daemon ran, are made up for by one run.
func (sc *scheduling) begin(c *Cron, due, now time.Time) {
	st, running := sc.states[c.Name], sc.running(c.Name)
	switch {
	case len(running) > 0 && c.Overlap == CronReplace:
		for _, r := range running {
			r.cancel(errReplaced)
		}
		return // it is due until they have ended
	case len(running) > 0 && c.Overlap != CronAllow, len(running) >= mostCronRuns:
		st.Seen, sc.owner.journal.dirty = now, true
		st.Skipped++
		sc.log.Warn("a scheduled command is skipped, because it still runs", zap.String("cron", c.Name),
			zap.Time("due", due), zap.Time("since", running[0].Began))
		return
	}
	st.Seen = now
	sc.start(c, api.CronRun{Due: &due})
}

// running returns the runs of a command, oldest first.
func (sc *scheduling) running(name string) (list []*cronRun) {
	for _, r := range sc.runs {
		if r.Name == name {
			list = append(list, r)
		}
	}
	return list
}

// setAlarm has a turn at a time, or when the clock is set; the zero time = never.
func (sc *scheduling) setAlarm(at time.Time) {
	if sc.alarm != nil && sc.alarm.at.Equal(at) || sc.alarm == nil && at.IsZero() {
		return
	}
	if sc.alarm != nil {
		sc.alarm.stop()
		sc.alarm = nil
	}
	if at.IsZero() {
		return
	}
	a := &cronAlarm{at: at}
	sc.alarm = a
	a.stop = sc.os.alarm(at, func() {
		sc.enter(scheduler)
		sc.post(func() {
			if sc.alarm == a {
				sc.alarm = nil
			}
		})
	})
}

// end ends all runs, because this daemon is about to end, and begins none any more. It returns what
// is closed when they have ended; nil = none runs.
func (sc *scheduling) end(cause error) <-chan struct{} {
	sc.suspended = true
	sc.setAlarm(time.Time{})
	if len(sc.runs) == 0 {
		return nil
	}
	for _, r := range sc.runs {
		r.cancel(cause)
	}
	if sc.idle == nil {
		sc.idle = make(chan struct{})
	}
	return sc.idle
}

// goOn is the way back from end, when this daemon stays after all.
func (sc *scheduling) goOn() { sc.suspended = false }

// recall takes over what an earlier daemon knew. What it ran has ended with it, and is not run again.
func (sc *scheduling) recall(st *state) {
	sc.follower = st.Follower
	for name, saved := range st.Cron {
		if saved == nil {
			continue
		}
		sc.states[name] = saved
		for i := range saved.Running {
			r := saved.Running[i]
			r.Name, r.Result, r.Error = name, api.CronEnded, errDaemonEnded.Error()
			r.Seconds = 0 // when it ended is not known
			saved.Last = &r
			sc.log.Error("a scheduled command has not finished", zap.String("cron", name), zap.String("error", r.Error))
			sc.tell(r)
		}
		saved.Running = nil
	}
}

var (
	errReplaced    = errors.New(`the next run replaced it (overlap = "replace")`)
	errDaemonEnded = errors.New("the daemon ended before it had recorded the end of the run; superctl cron run starts it again")
	errRestarted   = errors.New("the daemon was restarted or upgraded while it ran; superctl cron run starts it again")
	errLeftRun     = errors.New("its client hung up")
)

// saved returns what the next daemon must know. It shares nothing with the owner that changes.
func (sc *scheduling) saved() map[string]*cronState {
	if len(sc.states) == 0 {
		return nil
	}
	all := make(map[string]*cronState, len(sc.states))
	for name, st := range sc.states {
		one := *st
		one.Running = slices.Clone(st.Running)
		all[name] = &one
	}
	return all
}

// status describes the scheduled commands of the live generation.
func (sc *scheduling) status() (list []api.CronStatus) {
	if sc.owner.live == nil {
		return nil
	}
	now, waits := wallClock(), sc.reason()
	for i := range sc.owner.live.plan.Cron {
		c := &sc.owner.live.plan.Cron[i]
		cs := api.CronStatus{Name: c.Name, Schedule: c.Schedule, Timezone: c.Timezone, Command: c.Command}
		if next, ok := sc.due(c, now); ok {
			cs.Next = &next
			if !next.After(now) {
				cs.Reason = waits
			}
		}
		switch clock := sc.clock(c); {
		case !sc.mine(c):
			cs.Reason = `on = "one": it runs on the canary host of the fleet`
		case clock.err != nil:
			cs.Reason = clock.err.Error()
		case cs.Next == nil && clock.parsed != nil:
			cs.Reason = "its schedule has no more times"
		}
		if st := sc.states[c.Name]; st != nil {
			cs.Running, cs.Skipped, cs.Last = slices.Clone(st.Running), st.Skipped, st.Last
		}
		list = append(list, cs)
	}
	return list
}

// noteLeader notes whether this host was the leader of a run that has changed its release or config.
func (c *change) noteLeader() {
	if c.req.Run != "" && turnsOver(c.kind) && !c.req.DryRun {
		c.owner.scheduling.follower = c.req.Follower
	}
}
