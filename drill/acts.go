package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/api"
)

// ask requests a change from the daemon.
func (d *drill) ask(ctx context.Context, c *change, req api.Request) (*api.Outcome, error) {
	out, err := d.site.Change(ctx, req, func(Event) {})
	c.reported = time.Now()
	if err != nil {
		return nil, err
	}
	c.steps = out.Steps
	for _, w := range out.Warnings {
		d.note("%s: %s", c.what, w)
	}
	if out.CutoverSeconds > 0 {
		c.detail = fmt.Sprintf("cutover %.2f ms", out.CutoverSeconds*1000)
	}
	return out, nil
}

// good returns an act that requests a change which must succeed.
func (d *drill) good(req api.Request) func(ctx context.Context, c *change) error {
	return func(ctx context.Context, c *change) error {
		out, err := d.ask(ctx, c, req)
		switch {
		case err != nil:
			return err
		case out.Result == api.Reverted:
			return fmt.Errorf("it was reverted: %s", out.Error)
		case out.Result != api.Done:
			return fmt.Errorf("it was refused: %s", out.Error)
		}
		return nil
	}
}

func (d *drill) switchOver(ctx context.Context) (bool, error) {
	if d.b.Name == "" {
		return d.reload(ctx)
	}
	return d.turn(ctx, aSwitch, api.Request{Kind: api.Switch, Release: d.b.Name})
}

func (d *drill) rollback(ctx context.Context) (bool, error) {
	return d.turn(ctx, aRollback, api.Request{Kind: api.Rollback})
}

// turn makes the other release live.
func (d *drill) turn(ctx context.Context, kind string, req api.Request) (bool, error) {
	return d.do(ctx, kind, kind+" to "+d.b.Name, func(ctx context.Context, c *change) error {
		err := d.good(req)(ctx, c)
		if err == nil {
			d.a, d.b = d.b, d.a
		}
		return err
	})
}

func (d *drill) reload(ctx context.Context) (bool, error) {
	return d.do(ctx, aReload, "reload of "+d.a.Name, d.good(api.Request{Kind: api.Reload}))
}

func (d *drill) upgrade(ctx context.Context) (bool, error) {
	return d.do(ctx, anUpgrade, "upgrade of the daemon", func(ctx context.Context, c *change) error {
		return d.untouched(ctx, func() error { return d.good(api.Request{Kind: api.Upgrade})(ctx, c) })
	})
}

// untouched runs do, and checks that the workers are still the same.
func (d *drill) untouched(ctx context.Context, do func() error) error {
	before, err := d.site.Status(ctx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := eventually(ctx, d.site,
		func(st *api.Status) bool { return st.Changing == nil && st.PID != before.PID })
	if err != nil {
		return fmt.Errorf("wait for the next daemon: %w", err)
	}
	if was, is := workersOf(&before), workersOf(&after); !slices.Equal(was, is) || after.Release != before.Release {
		return fmt.Errorf("the workers' PIDs changed: %v before, %v after", was, is)
	}
	return nil
}

func workersOf(st *api.Status) (pids []int) {
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
			_, at, err := kill(ctx, d.site, func(st *api.Status) int { return st.PID })
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
		pid, at, err := kill(ctx, d.site, func(st *api.Status) int { w, _ := d.worker(st); return w.PID })
		if err != nil {
			return err
		}
		c.window.Began = at
		if _, err := eventually(ctx, d.site, func(st *api.Status) bool {
			w, ok := d.worker(st)
			return ok && w.PID != 0 && w.PID != pid
		}); err != nil {
			return fmt.Errorf("wait for a new worker: %w", err)
		}
		c.replaced = time.Now()
		_, err = eventually(ctx, d.site, func(st *api.Status) bool {
			w, ok := d.worker(st)
			return ok && w.PID != pid && w.State == string(api.InstanceReady)
		})
		if err != nil {
			return fmt.Errorf("wait until the new worker is ready: %w", err)
		}
		c.detail = "a new worker was ready after " + round(time.Since(at))
		return nil
	})
}

func round(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// worker returns the first worker of the process that answers the load.
func (d *drill) worker(st *api.Status) (api.WorkerStatus, bool) {
	for _, g := range st.Generations {
		for _, w := range g.Workers {
			if g.ID == st.Generation && w.Process == d.opt.Process.Name {
				return w, true
			}
		}
	}
	return api.WorkerStatus{}, false
}

// minStart is the least time that a broken release gets to prove itself. Some servers keep running
// if the app cannot be imported, and are refused by their start_timeout only.
const minStart = 5 * time.Second

// breakIn switches to a broken release, which must be refused.
func (d *drill) breakIn(ctx context.Context) (bool, error) {
	s := d.site.(*copied) // scenario has checked the type
	limit := max(minStart, 4*d.bootTime)
	if configured := d.opt.Process.StartTimeout; configured <= limit {
		limit = 0
	}
	if err := s.limitStart(limit); err != nil {
		return false, err
	}
	for _, evenInterpreter := range []bool{false, true} {
		if err := s.breakRelease(d.a, evenInterpreter); err != nil {
			return false, err
		}
		works := false
		proceed, err := d.do(ctx, aBrokenOne, "a broken release", func(ctx context.Context, c *change) (err error) {
			works, err = d.tryBroken(ctx, c, evenInterpreter)
			return err
		})
		if err != nil || !proceed || !works {
			return proceed, err
		}
		if proceed, err := d.do(ctx, aSwitch, "switch to "+d.a.Name,
			d.good(api.Request{Kind: api.Switch, Release: d.a.Name})); err != nil || !proceed {
			return proceed, err
		}
	}
	return true, nil
}

// tryBroken switches to the broken release. The release may still work, unless its interpreter is
// broken too.
func (d *drill) tryBroken(ctx context.Context, c *change, evenInterpreter bool) (works bool, err error) {
	_, failed := d.run.Counts()
	out, err := d.ask(ctx, c, api.Request{Kind: api.Switch, Release: brokenName})
	var refused *api.RefusedError
	switch {
	case errors.As(err, &refused):
		c.detail = "refused: " + first(err.Error())
		return false, nil
	case err != nil:
		return false, err
	case out.Result == api.Aborted:
		c.detail = "refused: " + first(out.Error) + lastError(out.Log)
		return false, nil
	}
	if _, now := d.run.Counts(); now == failed && out.Result == api.Done && !evenInterpreter {
		c.what, c.detail = "a release without code", "it works, because its code is in the virtualenv"
		return true, nil
	}
	return false, fmt.Errorf(
		"it went live (%s): set [process.%s.health] path to a page that answers only if the app works", out.Result,
		d.opt.Process.Name,
	)
}

// lastError returns the last Python import error in a log.
func lastError(log []string) string {
	for _, line := range slices.Backward(log) {
		if _, text, ok := strings.Cut(" "+line, " ModuleNotFoundError: "); ok {
			return " (" + first(strings.TrimSpace(text)) + ")"
		}
	}
	return ""
}

// first returns the first line of a text, shortened for a table.
func first(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 100 {
		text = text[:97] + "..."
	}
	return text
}
