package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"superctl/api"
	"superctl/load"
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
	steps      []api.Step
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
	var busy *api.BusyError
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
	_, err := eventually(ctx, d.site, func(st *api.Status) bool {
		return st.Changing == nil && !slices.ContainsFunc(st.Generations, func(g api.GenerationStatus) bool { return g.State == "draining" })
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // they have longer than this; what they lose later is between the changes
	}
	return err
}
