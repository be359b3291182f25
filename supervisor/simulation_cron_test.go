package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

// The model of commands: those that are scheduled, and the hooks before a cutover, which migrate a
// database. A command is a process of the machine: it runs on when the daemon that started it dies,
// until the next one ends it.

const (
	simCron      = "clear" // the scheduled command
	simCronEvery = 15 * time.Second
	simCronLimit = 25 * time.Second // its timeout
	// simSoon is how long a daemon may take to act on what it knows, and a fault to be noticed.
	simSoon = 2 * time.Second
)

// simCommands are the commands of the machine, and what was said of them.
type simCommands struct {
	list    []*simCommand
	dues    map[string]bool      // times that a scheduled command has run for
	lives   map[string]time.Time // when each release was last live
	heldAt  time.Time            // since when connections are held; zero = they are not
	freeAt  time.Time            // since when nothing keeps a scheduled command from beginning; zero = something does
	firstAt time.Time            // since when there are scheduled commands
	diedAt  time.Time            // when a daemon has last died
	told    []Outcome
}

// simCommand is one command of the machine.
type simCommand struct {
	n       int
	d       *simDaemon // that has started it
	name    string
	due     string // for which time it runs; "" = a person has started it
	release string
	began   time.Time
	ended   time.Time // zero = it runs
	dies    time.Duration
	over    chan struct{}
}

func (c *simCommand) String() string {
	text := fmt.Sprintf("%s of %s", c.name, c.release)
	if c.due != "" {
		text += " for " + c.due
	}
	return text
}

// command starts a command, which runs for so long; the lock is held.
func (m *sim) command(d *simDaemon, of worker.Command, takes time.Duration) *simCommand {
	c := &simCommand{
		n: len(m.commands.list) + 1, d: d, name: of.Args[0], due: variable(of.Env, "SUPERCTL_DUE"),
		release: variable(of.Env, "SUPERCTL_RELEASE"), began: time.Now(), over: make(chan struct{}),
	}
	c.dies = time.Duration(1+m.hash("dies", uint64(c.n))%1_500_000_000) * time.Nanosecond //nolint:gosec // it fits
	m.commands.list = append(m.commands.list, c)
	time.AfterFunc(takes+time.Duration(c.n), func() { m.locked(c.end) })
	return c
}

// end ends it; the lock is held.
func (c *simCommand) end() {
	if c.ended.IsZero() {
		c.ended = time.Now()
		close(c.over)
	}
}

// variable returns the value of a variable of an environment.
func variable(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// running returns the commands of a name that run, oldest first.
func (cs *simCommands) running(name string) (list []*simCommand) {
	for _, c := range cs.list {
		if c.name == name && c.ended.IsZero() {
			list = append(list, c)
		}
	}
	return list
}

// endCommands ends every command that an earlier daemon has left.
func (m *sim) endCommands(why string) {
	for _, c := range m.commands.list {
		if !c.ended.IsZero() {
			continue
		}
		m.logf("end %s: %s", c, why)
		if !c.d.dead {
			m.violate("%s is ended, and the daemon that has started it lives", c)
		}
		c.end()
	}
}

// runCron is the scheduled command.
func (d *simDaemon) runCron(ctx context.Context, of worker.Command) error {
	m := d.m
	var c *simCommand
	var fails bool
	m.locked(func() {
		takes := 30 * time.Millisecond
		switch m.hash("command", uint64(len(m.commands.list))) % 6 { //nolint:gosec // a small number
		case 0:
			takes = simCronEvery + 4*time.Second
		case 1:
			takes = time.Hour
		case 2:
			takes, fails = time.Second, true
		case 3:
			takes = 5 * time.Second
		}
		c = m.command(d, of, takes)
		m.logf("run %s", c)
		m.checkCommand(c)
	})
	select {
	case <-c.over:
	case <-d.died:
		return errSimDead
	case <-ctx.Done():
		time.AfterFunc(c.dies, func() { m.locked(c.end) })
		select {
		case <-c.over:
		case <-d.died:
			return errSimDead
		}
	}
	d.pass(fmt.Sprint("command ", c.n, " has ended"))
	if d.isDead() {
		return errSimDead
	}
	cause := context.Cause(ctx)
	m.locked(func() { m.logf("%s has ended: fails %t, %v", c, fails, cause) })
	if cause != nil && errors.Is(cause, errReplaced) {
		return cause
	}
	if (fails || cause != nil) && c.due != "" {
		m.expectTold(c)
	}
	switch {
	case cause != nil:
		return cause
	case fails:
		return &worker.ExitError{Exit: worker.Exit{Known: true, Code: 1}}
	}
	return nil
}

// expectTold holds that the team is told of a failure, if the daemon that knows it does not die.
func (m *sim) expectTold(c *simCommand) {
	time.AfterFunc(simSoon, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if c.d.dead || c.d.leaving {
			return
		}
		if !slices.ContainsFunc(m.commands.told, func(o Outcome) bool {
			return !o.Started.After(c.began) && c.began.Sub(o.Started) < simCronEvery/2
		}) {
			m.violate("%s has failed, and the team is not told", c)
		}
	})
}

// tellCron is Options.Tell for a scheduled command.
func (d *simDaemon) tellCron(o Outcome) {
	if !d.edge(fmt.Sprint("tell cron ", o.Started.UnixNano())) {
		return
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.logf("told: %s has failed: %s", o.Command, o.Error)
	for _, other := range d.m.commands.told {
		if other.Started.Equal(o.Started) && d.m.commands.diedAt.Before(other.Started) {
			d.m.violate("the team is told twice of the run that began at %s", o.Started)
		}
	}
	d.m.commands.told = append(d.m.commands.told, o)
}

// checkCommand is called when a scheduled command starts.
func (m *sim) checkCommand(c *simCommand) {
	cs := &m.commands
	if c.due != "" && cs.dues[c.due] {
		m.violate("%s runs a second time", c)
	}
	cs.dues[c.due] = true
	others := len(cs.running(simCron)) - 1
	if limit := map[CronOverlap]int{CronAllow: mostCronRuns - 1}[m.sc.Site.Cron]; others > limit {
		m.violate("%s runs beside %d others", c, others)
	}
	for _, hook := range cs.running("before") {
		if time.Since(hook.began) > simMoment {
			m.violate("%s begins during a migration to %s", c, hook.release)
		}
	}
	if !cs.heldAt.IsZero() && time.Since(cs.heldAt) > simMoment {
		m.violate("%s begins while connections are held", c)
	}
	if live, ok := cs.lives[c.release]; !ok || time.Since(live) > m.fileTakes()+simMoment {
		m.violate("%s begins, and that is not live", c)
	}
}

// note keeps what the owner knows at the end of a turn; the lock is held.
func (cs *simCommands) note(s *Supervisor) {
	now := time.Now()
	if s.live == nil {
		return
	}
	cs.lives[s.live.plan.Release.Name] = now
	if cs.firstAt.IsZero() && len(s.live.plan.Cron) > 0 {
		cs.firstAt = now
	}
	switch {
	case !s.live.held:
		cs.heldAt = time.Time{}
	case cs.heldAt.IsZero():
		cs.heldAt = now
	}
}

// checkDue holds, each second, that a scheduled command that is due begins when nothing is in its way:
// no change, no earlier run, no disk that fails.
func (m *sim) checkDue(d *simDaemon, st Status) {
	cs := &m.commands
	if m.sc.Site.Cron == "" || m.off {
		return
	}
	now := time.Now()
	if d.dead || d != m.now || d.leaving || d.s.leaving || st.Changing != nil || m.open > 0 || st.Release == "" ||
		m.disk.behind() || m.disk.fails != nil || len(cs.running(simCron)) > 0 || len(cs.running("before")) > 0 {
		cs.freeAt = time.Time{}
		return
	}
	if cs.freeAt.IsZero() {
		cs.freeAt = now
	}
	due := now.Add(-simSoon).Truncate(simCronEvery)
	last := cs.firstAt // until when what was due is decided
	for _, at := range []time.Time{cs.diedAt, m.disk.failed, cs.lastEnd()} {
		if at.After(last) {
			last = at
		}
	}
	if now.Sub(cs.freeAt) > simSoon && due.After(last) {
		m.violate("%s was due at %s, and has not begun", simCron, due.Format("15:04:05"))
	}
}

// lastEnd returns when a scheduled command has last ended.
func (cs *simCommands) lastEnd() (at time.Time) {
	for _, c := range cs.list {
		if c.name == simCron && c.ended.After(at) {
			at = c.ended
		}
	}
	return at
}

// checkLeft is called when a daemon has ended by itself, or hands over: it leaves no scheduled command
// behind. A hook is ended, and run again, by the next daemon.
func (d *simDaemon) checkLeft(how string) {
	for _, c := range d.m.commands.list {
		if c.d == d && c.name == simCron && c.ended.IsZero() {
			d.m.violate("daemon %d %s, and %s still runs", d.n, how, c)
		}
	}
}

// checkCommands is called when all has come to rest: no command of a daemon that is gone runs.
func (m *sim) checkCommands(d *simDaemon) {
	for _, c := range m.commands.list {
		if c.d != d && c.ended.IsZero() {
			m.violate("%s runs, and the daemon does not know it", c)
		}
	}
}

// runByHand is a client that runs the scheduled command. With N = 1 it hangs up after some time.
func (m *sim) runByHand(d *simDaemon, a simAction) {
	asks := d.moment(fmt.Sprint("by hand ", m.others)) // two may ask at the same instant
	m.another(d, "cron run", func(ctx context.Context) (*Outcome, error) {
		time.Sleep(asks)
		if a.N == 1 {
			var hangUp context.CancelFunc
			ctx, hangUp = context.WithTimeout(ctx, time.Duration(a.For)*time.Millisecond)
			defer hangUp()
		}
		r, err := d.s.RunCron(ctx, api.CronRequest{Name: simCron, Who: "a person"}, func(Event) {})
		if errors.As(err, new(*BusyError)) {
			return nil, nil //nolint:nilnil // a change is in progress, and it says so
		}
		if err != nil {
			return nil, err
		}
		return &Outcome{Kind: api.CronKind, Release: r.Release, Result: Result(r.Result)}, nil
	})
}

// schedule gives a third of the scenarios a scheduled command, and what may meet a time at which it is
// due. It draws from a stream of its own.
func (sc *scenario) schedule(r *rand.Rand) {
	if r.IntN(3) > 0 {
		return
	}
	sc.Site.Cron = []CronOverlap{CronForbid, CronForbid, CronAllow, CronReplace}[r.IntN(4)]
	last := sc.Actions[len(sc.Actions)-1].At
	every := int(simCronEvery / time.Millisecond)
	for range 2 + r.IntN(4) {
		a := simAction{
			At: max(3000, r.IntN(last+every)/every*every+[]int{-40, -4, 1, 3, 30, 3000}[r.IntN(6)]+r.IntN(4)),
			Do: []string{
				"kill daemon", "kill daemon", "kill at event", "kill at point", "disk", "leave", "upgrade", "switch",
				"rollback", "reload", "power", "cron run", "cron run",
			}[r.IntN(13)],
			Release: fmt.Sprint("r", 1+r.IntN(6)), Process: "web", N: 1 + r.IntN(30), For: 200 + r.IntN(20_000),
		}
		if a.Do == "cron run" {
			a.Release, a.Process, a.N = "", "", a.N%2
		} else {
			a = a.tidied()
		}
		sc.Actions = append(sc.Actions, a)
	}
	slices.SortStableFunc(sc.Actions, func(a, b simAction) int { return cmp.Compare(a.At, b.At) })
}

// alarm is system.alarm.
func (d *simDaemon) alarm(at time.Time, ring func()) (stop func()) {
	timer := time.AfterFunc(time.Until(at)+d.moment("alarm"), ring)
	return func() { timer.Stop() }
}

// endRuns ends what waits for the runs of a dead daemon.
func (d *simDaemon) endRuns() {
	sc := &d.s.scheduling
	for _, r := range sc.runs {
		r.cancel(errSimDead)
		time.AfterFunc(time.Minute, func() { // by then nothing of it writes any more
			close(r.events)
			close(r.done)
		})
	}
	if sc.idle != nil {
		close(sc.idle)
	}
	if sc.alarm != nil {
		sc.alarm.stop()
	}
}
