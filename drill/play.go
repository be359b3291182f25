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
	"superctl/plain"
)

// How long the load runs without changes: at first, as the baseline, and between two changes.
const (
	steadyTime = 3 * time.Second
	calmTime   = time.Second
)

// patience is how much longer than the limits of the config a change may take.
const patience = 30 * time.Second

// longestDrain limits the wait for the old workers, whose connections may last for hours.
const longestDrain = time.Minute

// The kinds of changes.
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

// change is a change of the app by the drill.
type change struct {
	kind, what string
	window     load.Window // from the request until all its effects have ended
	steps      []api.Step
	reported   time.Time // when the daemon reported the outcome; from then on old workers end
	replaced   time.Time // for a killed worker: until then requests may have been in it
	detail     string
	err        string // why it failed; "" = it succeeded
}

// play runs the scenario. Its error is an interruption.
func (d *drill) play(ctx context.Context) error {
	if err := d.calm(ctx, stepOfSteady, steadyTime); err != nil {
		return err
	}
	acts := d.scenario()
	for i, do := range acts {
		d.position = fmt.Sprintf("%d of %d, ", i+1, len(acts))
		proceed, err := do(ctx)
		if err != nil || !proceed {
			return err
		}
		if err := d.calm(ctx, stepOfCalm, calmTime); err != nil {
			return err
		}
	}
	return nil
}

// act is one step of the scenario. It reports whether the next one can run.
type act func(ctx context.Context) (proceed bool, err error)

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

// calm runs the load without changes.
func (d *drill) calm(ctx context.Context, step string, long time.Duration) error {
	done := d.watch(step)
	defer done("")
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-t.C:
		if step == stepOfSteady {
			sent, failed := d.run.Counts()
			done(fmt.Sprintf("%s, %d failed, before any change", plain.Count(sent, "request", "requests"), failed))
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch shows the progress of a step until over is called.
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
				d.opt.Show(Event{
					Type: "progress", Step: step,
					Detail: fmt.Sprintf("%s%d requests, %d failed", d.position, sent, failed),
				})
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

// failedMark begins the detail of a failed step.
const failedMark = "\x00"

// do performs a change, and records it.
func (d *drill) do(
	ctx context.Context, kind, what string, do func(ctx context.Context, c *change) error,
) (proceed bool, err error) {
	limit := d.limit()
	bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	c := change{kind: kind, what: what, window: load.Window{Began: time.Now()}}
	_, lost := d.run.Counts()
	over := d.watch(strings.Fields(kind)[0])
	err = do(bounded, &c)
	if c.reported.IsZero() {
		c.reported = time.Now()
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
		return false, ctx.Err() // without a daemon the rest is impossible
	}
	return true, nil
}

func comma(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// limit returns how long a change may take.
func (d *drill) limit() time.Duration {
	limit := patience + d.opt.Config.Settle + d.opt.Config.Probation + d.opt.Config.Hooks.Timeout
	for _, p := range d.opt.Config.Processes {
		limit += p.StartTimeout
	}
	return limit
}

// drained waits until the old workers have ended.
func (d *drill) drained(ctx context.Context) error {
	limit := time.Duration(0)
	for _, p := range d.opt.Config.Processes {
		limit = max(limit, p.Drain+p.DrainConnections)
	}
	ctx, cancel := context.WithTimeout(ctx, min(limit+patience, longestDrain))
	defer cancel()
	_, err := eventually(ctx, d.site, func(st *api.Status) bool {
		return st.Changing == nil &&
			!slices.ContainsFunc(st.Generations, func(g api.GenerationStatus) bool { return g.State == "draining" })
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // they may take longer; later losses count as between the changes
	}
	return err
}
