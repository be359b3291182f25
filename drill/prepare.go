package drill

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"superctl/api"
	"superctl/load"
)

// tries limits how many releases are tried until two of them work.
const tries = 4

// body is the size of a POST body in bytes.
const body = 4 << 10

// prepare finds two working releases, and learns the correct answers: those before any change.
func (d *drill) prepare(ctx context.Context) error {
	began := time.Now()
	d.opt.Show(Event{Type: "begin", Step: "prepare"})
	err := d.findReleases(ctx)
	detail := fmt.Sprintf("%s at %s", d.opt.Config.App, d.site.target())
	if err != nil {
		d.opt.Show(Event{Type: "fail", Step: "prepare", Detail: detail, Seconds: time.Since(began).Seconds()})
		return err
	}
	detail += ", " + d.a.Name
	if d.b.Name != "" {
		detail += " and " + d.b.Name
	}
	d.opt.Show(Event{Type: "end", Step: "prepare", Detail: detail, Seconds: time.Since(began).Seconds()})
	return nil
}

func (d *drill) findReleases(ctx context.Context) error {
	if d.opt.Live {
		d.a = d.opt.Releases[0]
		if len(d.opt.Releases) > 1 {
			d.b = d.opt.Releases[1]
		} else {
			d.note("no previous release: reloads replace switches and rollbacks")
		}
		return d.learn(ctx)
	}
	var failed []error
	for _, r := range d.opt.Releases[:min(len(d.opt.Releases), tries)] {
		err := d.try(ctx, r)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			failed = append(failed, err)
			d.note("%v", err)
			continue
		}
		d.a, d.b = r, d.a // a is the live one
		if err := d.learn(ctx); err != nil {
			return err
		}
		if d.b.Name != "" {
			return nil
		}
	}
	if d.a.Name == "" {
		return failed[0]
	}
	d.note("no second working release: reloads replace switches and rollbacks")
	return nil
}

// try makes a release live in the copy.
func (d *drill) try(ctx context.Context, r Release) error {
	out, err := d.site.Change(ctx, api.Request{Kind: api.Switch, Release: r.Name}, d.progress("prepare"))
	switch {
	case err != nil:
		return &StartError{Err: fmt.Errorf("the copy of %s does not start with %s: %w",
			d.opt.Config.App, r.Name, err)}
	case out.Result != api.Done:
		return &StartError{Err: fmt.Errorf("the copy of %s does not start with %s: %s",
			d.opt.Config.App, r.Name, out.Error), Log: out.Log}
	}
	for _, s := range out.Steps {
		if s.Name == api.StepBoot || s.Name == api.StepProve || s.Name == api.StepPreflight {
			d.bootTime = max(d.bootTime, time.Duration(s.Seconds*float64(time.Second)))
		}
	}
	return nil
}

// progress returns a function that shows the daemon's steps.
func (d *drill) progress(step string) func(Event) {
	return func(ev Event) {
		if ev.Type == "begin" {
			d.opt.Show(Event{Type: "progress", Step: step, Detail: ev.Step})
		}
	}
}

// learn requests each page once, and remembers the status of its answer. A page with different
// answers in the two releases is an error.
func (d *drill) learn(ctx context.Context) error {
	statuses, err := d.look(ctx)
	if err != nil {
		return err
	}
	if d.shapes != nil {
		for i, s := range d.shapes {
			if now := statuses[i]; s.Check(now, nil, nil) != nil {
				return &StartError{Err: fmt.Errorf(
					"%s: %s answers %d, and %s does not: choose pages that both have (--path, --post)", s.Name, d.a.Name,
					now, d.b.Name)}
			}
		}
		return nil
	}
	d.shapes = d.opt.Load.shapes()
	for i := range d.shapes {
		status := statuses[i]
		d.shapes[i].Check = func(got int, _ http.Header, _ []byte) error {
			if got != status {
				return fmt.Errorf("status %d instead of %d", got, status)
			}
			return nil
		}
		if status != http.StatusOK {
			d.note("%s answers %d, which counts as a success", d.shapes[i].Name, status)
		}
	}
	return nil
}

// shapes returns the requests of a load, without checks of the answers.
func (l *Load) shapes() []load.Shape {
	var list []load.Shape
	for _, path := range l.Paths {
		list = append(list, load.Get(path))
	}
	for _, path := range l.Posts {
		s := load.Post(path, body)
		s.BodyIgnored = true
		list = append(list, s)
	}
	return list
}

// look sends one request of each shape and returns the statuses of the answers.
func (d *drill) look(ctx context.Context) ([]int, error) {
	shapes := d.opt.Load.shapes()
	for i := range shapes {
		shapes[i].Check = func(int, http.Header, []byte) error { return nil }
	}
	t := d.site.target()
	run, err := load.Start(load.Config{
		Network: t.Network, Address: t.Address, Host: hostOf(&d.opt.Load, t), Shapes: shapes, Clients: 1,
		Timeout: d.opt.Load.Timeout, MaxRequests: len(shapes),
	})
	if err != nil {
		return nil, err
	}
	err = run.Wait(ctx, func(records []load.Record) bool { return len(records) == len(shapes) })
	res := run.Stop()
	if err != nil && len(res.Records) < len(shapes) {
		return nil, err
	}
	statuses := make([]int, len(shapes))
	var bad []string
	for _, rec := range res.Records {
		statuses[rec.Shape] = rec.Status
		if rec.Failure != load.None {
			bad = append(bad, fmt.Sprintf("%s: %s", shapes[rec.Shape].Name, rec.Err))
		}
	}
	if len(bad) > 0 {
		return nil, &StartError{Err: fmt.Errorf(
			"a page fails before the drill: %s: choose others with --path and --post", strings.Join(bad, "; "),
		), Log: d.site.lastWords()}
	}
	return statuses, nil
}
