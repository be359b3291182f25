package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"superctl/load"
	"superctl/supervisor"
)

// For how long the load goes on alone: at first, which is what all else is compared with, and between two changes.
const (
	steadyTime = 3 * time.Second
	calmTime   = time.Second
)

// patience is how long a step may take beyond what the config allows for.
const patience = 30 * time.Second

// longestDrain bounds the wait for the old workers: there may be connections that last for hours.
const longestDrain = time.Minute

// The kinds of change.
const (
	aSwitch      = "switch"
	aRollback    = "rollback"
	aReload      = "reload"
	aWorkerKill  = "kill worker"
	aDaemonKill  = "kill daemon"
	anUpgrade    = "upgrade"
	aBrokenOne   = "broken release"
	stepOfSteady = "steady"
	stepOfCalm   = "calm"
)

// change is one thing that was done to the app, and when.
type change struct {
	kind, what string
	window     load.Window // from the moment when it was asked for until nothing of it goes on
	steps      []supervisor.Step
	told       time.Time // the daemon said that it was done; from then on old workers end
	replaced   time.Time // of a worker kill: until then requests may have been in the killed worker
	detail     string
	err        string // why it was not as it must be; "" = it was
}

// play does everything that is to be done. The error is an interruption.
func (d *drill) play(ctx context.Context) error {
	if err := d.calm(ctx, stepOfSteady, steadyTime); err != nil {
		return err
	}
	acts := d.scenario()
	for i, do := range acts {
		d.position = fmt.Sprintf("%d of %d, ", i+1, len(acts))
		goOn, err := do(ctx)
		if err != nil || !goOn {
			return err
		}
		if err := d.calm(ctx, stepOfCalm, calmTime); err != nil {
			return err
		}
	}
	return nil
}

// act does one thing; it says whether the next one can be done.
type act func(ctx context.Context) (goOn bool, err error)

func (d *drill) scenario() (acts []act) {
	for range d.opt.Switches {
		acts = append(acts, d.switchOver)
	}
	if d.b.Name != "" {
		acts = append(acts, d.rollback)
	}
	acts = append(acts, d.reload)
	if !d.opt.Live || d.opt.Kills {
		acts = append(acts, d.killWorker, d.killDaemon)
	}
	acts = append(acts, d.upgrade)
	if _, ok := d.site.(*copied); ok {
		acts = append(acts, d.breakIn)
	}
	return acts
}

// calm lets the load go on alone.
func (d *drill) calm(ctx context.Context, step string, long time.Duration) error {
	done := d.watch(step)
	defer done("")
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-t.C:
		if step == stepOfSteady {
			sent, failed := d.run.Counts()
			done(fmt.Sprintf("%d requests, %d failed, before anything is done", sent, failed))
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch shows how a step goes until it is over.
func (d *drill) watch(step string) (over func(detail string)) {
	began := time.Now()
	d.opt.Show(Event{Type: "begin", Step: step})
	stop := make(chan struct{})
	var ticks sync.WaitGroup
	ticks.Go(func() {
		t := time.NewTicker(250 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				sent, failed := d.run.Counts()
				d.opt.Show(Event{Type: "progress", Step: step, Detail: fmt.Sprintf("%s%d requests, %d failed", d.position, sent, failed)})
			case <-stop:
				return
			}
		}
	})
	var once sync.Once
	return func(detail string) {
		once.Do(func() {
			close(stop)
			ticks.Wait()
			if detail != "" {
				kind := "end"
				if text, bad := strings.CutPrefix(detail, failedMark); bad {
					kind, detail = "fail", text
				}
				d.opt.Show(Event{Type: kind, Step: step, Detail: detail, Seconds: time.Since(began).Seconds()})
			}
		})
	}
}

// failedMark begins the detail of a step that was not as it must be.
const failedMark = "\x00"

// do does one change, and notes it.
func (d *drill) do(ctx context.Context, kind, what string, do func(ctx context.Context, c *change) error) (goOn bool, err error) {
	limit := d.limit()
	bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it was not done within %s", limit))
	defer cancel()
	c := change{kind: kind, what: what, window: load.Window{Began: time.Now()}}
	_, lost := d.run.Counts()
	over := d.watch(strings.Fields(kind)[0])
	err = do(bounded, &c)
	if c.told.IsZero() {
		c.told = time.Now()
	}
	if err == nil {
		err = d.drained(ctx)
	}
	c.window.Ended = time.Now()
	var busy *supervisor.BusyError
	if ctx.Err() != nil || errors.As(err, &busy) {
		over("")
		return false, errors.Join(context.Cause(ctx), err)
	}
	_, lostNow := d.run.Counts()
	detail := fmt.Sprintf("%s%s, %d failed", c.what, comma(c.detail), lostNow-lost)
	if err != nil {
		c.err = err.Error()
		d.promiseBroken("%s: %s", c.what, c.err)
		detail = failedMark + c.what + ": " + c.err
	}
	over(detail)
	d.changes = append(d.changes, c)
	if _, err := d.site.Status(ctx); err != nil {
		return false, ctx.Err() // nobody is there any more who could do the rest
	}
	return true, nil
}

func comma(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// limit is how long a change may take at most.
func (d *drill) limit() time.Duration {
	limit := patience + d.opt.Config.Settle + d.opt.Config.Probation + d.opt.Config.Hooks.Timeout
	for _, p := range d.opt.Config.Processes {
		limit += p.StartTimeout
	}
	return limit
}

// drained waits until the old workers are gone.
func (d *drill) drained(ctx context.Context) error {
	limit := time.Duration(0)
	for _, p := range d.opt.Config.Processes {
		limit = max(limit, p.Drain+p.DrainConnections)
	}
	ctx, cancel := context.WithTimeout(ctx, min(limit+patience, longestDrain))
	defer cancel()
	_, err := eventually(ctx, d.site, func(st *supervisor.Status) bool {
		return st.Changing == nil && !slices.ContainsFunc(st.Generations, func(g supervisor.GenerationStatus) bool { return g.State == "draining" })
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // they have longer than this; what they lose later is between the changes
	}
	return err
}

// ask has the daemon make a change.
func (d *drill) ask(ctx context.Context, c *change, req supervisor.Request) (*supervisor.Outcome, error) {
	out, err := d.site.Change(ctx, req, func(Event) {})
	c.told = time.Now()
	if err != nil {
		return nil, err
	}
	c.steps = out.Steps
	for _, w := range out.Warnings {
		d.note("%s: %s", c.what, w)
	}
	for _, s := range out.Steps {
		if s.Name == "cutover" && strings.HasSuffix(s.Detail, " ms") {
			c.detail = "cutover " + s.Detail
		}
	}
	return out, nil
}

// good has the daemon make a change that must succeed.
func (d *drill) good(req supervisor.Request) func(ctx context.Context, c *change) error {
	return func(ctx context.Context, c *change) error {
		out, err := d.ask(ctx, c, req)
		switch {
		case err != nil:
			return err
		case out.Result == supervisor.Reverted:
			return fmt.Errorf("it was taken back: %s", out.Error)
		case out.Result != supervisor.Done:
			return fmt.Errorf("it was refused: %s", out.Error)
		}
		return nil
	}
}

func (d *drill) switchOver(ctx context.Context) (bool, error) {
	if d.b.Name == "" {
		return d.reload(ctx)
	}
	return d.turn(ctx, aSwitch, supervisor.Request{Kind: supervisor.Switch, Release: d.b.Name})
}

func (d *drill) rollback(ctx context.Context) (bool, error) {
	return d.turn(ctx, aRollback, supervisor.Request{Kind: supervisor.Rollback})
}

// turn makes the other release live.
func (d *drill) turn(ctx context.Context, kind string, req supervisor.Request) (bool, error) {
	return d.do(ctx, kind, kind+" to "+d.b.Name, func(ctx context.Context, c *change) error {
		err := d.good(req)(ctx, c)
		if err == nil {
			d.a, d.b = d.b, d.a
		}
		return err
	})
}

func (d *drill) reload(ctx context.Context) (bool, error) {
	return d.do(ctx, aReload, "reload of "+d.a.Name, d.good(supervisor.Request{Kind: supervisor.Reload}))
}

func (d *drill) upgrade(ctx context.Context) (bool, error) {
	return d.do(ctx, anUpgrade, "upgrade of the daemon", func(ctx context.Context, c *change) error {
		return d.untouched(ctx, func() error { return d.good(supervisor.Request{Kind: supervisor.Upgrade})(ctx, c) })
	})
}

// untouched does what workers must not notice.
func (d *drill) untouched(ctx context.Context, do func() error) error {
	before, err := d.site.Status(ctx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := eventually(ctx, d.site, func(st *supervisor.Status) bool { return st.Changing == nil && st.PID != before.PID })
	if err != nil {
		return fmt.Errorf("another daemon is to be in charge: %w", err)
	}
	if was, is := workersOf(&before), workersOf(&after); !slices.Equal(was, is) || after.Release != before.Release {
		return fmt.Errorf("the workers are others now: %v were, %v are", was, is)
	}
	return nil
}

func workersOf(st *supervisor.Status) (pids []int) {
	for _, g := range st.Generations {
		for _, w := range g.Workers {
			if g.ID == st.Generation {
				pids = append(pids, w.PID)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

func (d *drill) killDaemon(ctx context.Context) (bool, error) {
	return d.do(ctx, aDaemonKill, "kill -9 of the daemon", func(ctx context.Context, c *change) error {
		return d.untouched(ctx, func() error {
			_, at, err := kill(ctx, d.site, func(st *supervisor.Status) int { return st.PID })
			if err != nil {
				return err
			}
			c.window.Began = at
			return d.site.restart(ctx)
		})
	})
}

func (d *drill) killWorker(ctx context.Context) (bool, error) {
	return d.do(ctx, aWorkerKill, "kill -9 of a worker", func(ctx context.Context, c *change) error {
		pid, at, err := kill(ctx, d.site, func(st *supervisor.Status) int { w, _ := d.worker(st); return w.PID })
		if err != nil {
			return err
		}
		c.window.Began = at
		if _, err := eventually(ctx, d.site, func(st *supervisor.Status) bool {
			w, ok := d.worker(st)
			return ok && w.PID != 0 && w.PID != pid
		}); err != nil {
			return fmt.Errorf("another one is to be started: %w", err)
		}
		c.replaced = time.Now()
		_, err = eventually(ctx, d.site, func(st *supervisor.Status) bool {
			w, ok := d.worker(st)
			return ok && w.PID != pid && w.State == string(supervisor.InstanceReady)
		})
		if err != nil {
			return fmt.Errorf("the new one is to be ready: %w", err)
		}
		c.detail = "another one was ready after " + round(time.Since(at))
		return nil
	})
}

func round(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// worker is the first worker of the process that answers the load.
func (d *drill) worker(st *supervisor.Status) (supervisor.WorkerStatus, bool) {
	for _, g := range st.Generations {
		for _, w := range g.Workers {
			if g.ID == st.Generation && w.Process == d.opt.Process.Name {
				return w, true
			}
		}
	}
	return supervisor.WorkerStatus{}, false
}

// leastStart is what a broken release is given to prove itself at least: some servers go on when the app cannot be imported, and it is
// their start_timeout that refuses it.
const leastStart = 5 * time.Second

// breakIn tries a release that does not work, which must be refused.
func (d *drill) breakIn(ctx context.Context) (bool, error) {
	s := d.site.(*copied) //nolint:forcetypeassert // scenario has looked
	limit := max(leastStart, 4*d.bootTime)
	if configured := d.opt.Process.StartTimeout; configured <= limit {
		limit = 0
	}
	if err := s.startTime(limit); err != nil {
		return false, err
	}
	for _, evenIts := range []bool{false, true} {
		if err := s.breakRelease(d.a, evenIts); err != nil {
			return false, err
		}
		works := false
		goOn, err := d.do(ctx, aBrokenOne, "a broken release", func(ctx context.Context, c *change) error {
			_, lost := d.run.Counts()
			out, err := d.ask(ctx, c, supervisor.Request{Kind: supervisor.Switch, Release: brokenName})
			var refused *supervisor.RefusedError
			switch {
			case errors.As(err, &refused):
				c.detail = "refused: " + first(err.Error())
				return nil
			case err != nil:
				return err
			case out.Result == supervisor.Aborted:
				c.detail = "refused: " + first(out.Error) + lastError(out.Log)
				return nil
			}
			if _, now := d.run.Counts(); now == lost && out.Result == supervisor.Done && !evenIts {
				works = true
				c.what, c.detail = "a release without code", "it works all the same, so its code is in the virtualenv"
				return nil
			}
			return fmt.Errorf("it went live (%s): give [process.%s.health] a path that answers only when the app works", out.Result, d.opt.Process.Name)
		})
		if err != nil || !goOn || !works {
			return goOn, err
		}
		if goOn, err := d.do(ctx, aSwitch, "switch to "+d.a.Name, d.good(supervisor.Request{Kind: supervisor.Switch, Release: d.a.Name})); err != nil || !goOn {
			return goOn, err
		}
	}
	return true, nil
}

// lastError is the last line of a log that names an error of Python's.
func lastError(log []string) string {
	for _, line := range slices.Backward(log) {
		if _, text, ok := strings.Cut(" "+line, " ModuleNotFoundError: "); ok {
			return " (" + first(strings.TrimSpace(text)) + ")"
		}
	}
	return ""
}

// first is the first line of a text, short enough for a table.
func first(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 100 {
		text = text[:97] + "..."
	}
	return text
}
