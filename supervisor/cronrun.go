package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/plain"
	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

// cronRun is one run of a scheduled command.
type cronRun struct {
	api.CronRun // as it began
	number      int
	cron        Cron
	plan        Plan // of the live generation when it began: a switch meanwhile does not concern it
	generation  int
	ctx         context.Context //nolint:containedctx // it is the lifetime of the run itself, not of one call
	cancel      context.CancelCauseFunc
	events      chan Event    // for the client, if there is one; a client that does not read delays nothing
	done        chan struct{} // closed when it has ended

	// Owned by Run; before done is closed.
	ended api.CronRun
}

// start begins a run. Its command starts once the state file has it.
func (sc *scheduling) start(c *Cron, how api.CronRun) *cronRun {
	live := sc.owner.live
	how.Name, how.Release, how.Began = c.Name, live.plan.Release.Name, wallClock()
	sc.number++
	r := &cronRun{
		CronRun: how, number: sc.number, cron: *c, plan: live.plan, generation: live.id,
		events: make(chan Event, 1024), done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	st := sc.state(c, how.Began)
	st.Running, st.Skipped = append(st.Running, how), 0
	sc.runs = append(sc.runs, r)
	sc.owner.journal.dirty = true
	sc.log.Info("run a scheduled command", zap.String("cron", c.Name), zap.String("release", r.Release))
	sc.async(func() {
		tail := worker.NewTail(tailLines)
		began := time.Now()
		err := sc.owner.journal.durable()
		sc.fault(scheduler, "before run")
		if err == nil {
			err = sc.execute(r, tail)
		} else {
			err = fmt.Errorf("not started: %w", err)
		}
		took := time.Since(began)
		sc.fault(scheduler, "after run")
		sc.enter(scheduler)
		sc.post(func() { sc.finish(r, r.result(err, took, tail.Lines())) })
	})
	return r
}

// execute runs the command in the release and the environment of the hooks.
func (sc *scheduling) execute(r *cronRun, tail *worker.Tail) error {
	limit := r.cron.Timeout
	ctx, cancel := context.WithTimeoutCause(r.ctx, limit, &cronTimeoutError{limit})
	defer cancel()
	t := newTranscript("", r.emit, func(s string) string { return s })
	defer t.end()
	line := LogLine{Release: r.Release, Generation: r.generation, Process: r.Name}
	group, err := sc.opt.Cgroups.Make(0, fmt.Sprintf("cron-%s.%d", r.Name, r.number), cgroup.Limits{})
	if err != nil {
		sc.log.Error("control group", zap.String("cron", r.Name), zap.Error(err))
	}
	h := &r.plan.Hooks
	err = sc.os.run(ctx, worker.Command{
		Args: r.cron.Command, Env: r.env(sc.opt.App), Secrets: h.Secrets, Dir: h.Dir, User: h.User, Mark: sc.owner.mark(),
		Cgroup: group,
	}, func(text string) {
		text = r.plan.redactor.Logged(text)
		tail.Add([]byte(text))
		t.add(text)
		l := line
		l.Time, l.Text = time.Now(), text
		sc.owner.book.add(l)
	})
	if gone := sc.opt.Cgroups.Remove(group); gone != nil {
		sc.log.Error("what a command left behind", zap.String("cron", r.Name), zap.Error(gone))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return err
}

// cronTimeoutError is the end of a run at its timeout.
type cronTimeoutError struct{ limit time.Duration }

func (e *cronTimeoutError) Error() string {
	return fmt.Sprintf("not finished within %s; timeout in its [cron] section sets the limit", plain.Duration(e.limit))
}

// env is the environment of the command.
func (r *cronRun) env(app string) []string {
	env := append(slices.Clone(r.plan.Hooks.Env),
		"SUPERCTL_APP="+app, "SUPERCTL_CRON="+r.Name,
		"SUPERCTL_RELEASE="+r.plan.Release.Name, "SUPERCTL_COMMIT="+r.plan.Release.Commit,
	)
	if r.Due != nil {
		env = append(env, "SUPERCTL_DUE="+r.Due.UTC().Format(time.RFC3339))
	}
	return env
}

// emit reports whether the client gets the event.
func (r *cronRun) emit(ev Event) bool {
	select {
	case r.events <- ev:
		return true
	default:
		return false
	}
}

// result describes a run that has ended.
func (r *cronRun) result(err error, took time.Duration, log []string) api.CronRun {
	out := r.CronRun
	out.Seconds, out.Result = took.Seconds(), api.CronDone
	var exit *worker.ExitError
	if err == nil {
		out.ExitCode = new(int)
		return out
	}
	out.Result, out.Error, out.Log = api.CronFailed, r.plan.redactor.Text(err.Error()), log
	switch timeout := new(cronTimeoutError); {
	case errors.As(err, &exit):
		if exit.Signal == 0 {
			out.ExitCode = &exit.Code
		}
	case r.ctx.Err() != nil || errors.As(err, &timeout):
		out.Result = api.CronEnded
	}
	return out
}

// finish notes how a run has ended.
func (sc *scheduling) finish(r *cronRun, out api.CronRun) {
	sc.runs = slices.DeleteFunc(sc.runs, func(other *cronRun) bool { return other == r })
	if st := sc.states[r.Name]; st != nil {
		at := slices.IndexFunc(st.Running, func(one api.CronRun) bool { return one.Began.Equal(r.Began) })
		if at >= 0 {
			st.Running = slices.Delete(st.Running, at, at+1)
		}
		st.Last = &out
	}
	sc.owner.journal.dirty = true
	cause := context.Cause(r.ctx)
	r.cancel(nil)
	r.ended = out
	close(r.events)
	close(r.done)
	ended := []zap.Field{zap.String("cron", r.Name), zap.Duration("took", time.Duration(out.Seconds*float64(time.Second)))}
	if out.Result == api.CronDone {
		sc.log.Info("a scheduled command is done", ended...)
	} else {
		sc.log.Error("a scheduled command has failed", append(ended, zap.String("error", out.Error))...)
		if out.Who == "" && !errors.Is(cause, errReplaced) { // a person who has started it sees it
			sc.tell(out)
		}
	}
	if len(sc.runs) == 0 && sc.idle != nil {
		close(sc.idle)
		sc.idle = nil
	}
}

// tell notifies the team of a run that has failed. The owner does not wait for the disk.
func (sc *scheduling) tell(r api.CronRun) {
	if sc.opt.Tell == nil {
		return
	}
	out := Outcome{
		Kind: api.CronKind, Result: Aborted, Command: r.Name, Release: r.Release, Error: r.Error, ExitCode: r.ExitCode,
		Log: r.Log, Seconds: r.Seconds, Who: "the daemon", Started: r.Began, Steps: []Step{},
	}
	sc.async(func() { sc.opt.Tell(out) })
}

// cronPatience limits how long a run that a person asks for waits for the end of the one that it
// replaces.
const cronPatience = 30 * time.Second

// RunCron runs a scheduled command now, and returns when it has ended; emit gets what it writes. When
// ctx ends, the command is ended. The error is a *BusyError or a *RefusedError: nothing was begun.
func (s *Supervisor) RunCron(ctx context.Context, req api.CronRequest, emit func(Event)) (*api.CronRun, error) {
	sc := &s.scheduling
	var r *cronRun
	begun, cancel := context.WithTimeoutCause(ctx, cronPatience, fmt.Errorf("the earlier run did not end within %s", cronPatience))
	err := s.await(begun, func() (bool, error) {
		c, err := sc.admit(req.Name)
		if c == nil {
			return false, err
		}
		r = sc.start(c, api.CronRun{Who: req.By(req.Who)})
		return true, nil
	})
	cancel()
	if err != nil && r == nil {
		return nil, refusal(err)
	}
	unhook := context.AfterFunc(ctx, func() { r.cancel(errLeftRun) })
	defer unhook()
	for ev := range r.events {
		if ctx.Err() == nil {
			emit(ev)
		}
	}
	<-r.done
	_ = sc.owner.journal.durable() // or the next daemon would call it unfinished. A failure says so itself
	return &r.ended, nil
}

// refusal is why a run that was asked for has not begun.
func refusal(err error) error {
	if isRefusal(err) {
		return err
	}
	return &RefusedError{Err: err}
}

// admit returns the command that a person may run now; nil without an error = an earlier run is being
// replaced.
func (sc *scheduling) admit(name string) (*Cron, error) {
	s := sc.owner
	switch why := sc.reason(); {
	case why == "":
	case s.change != nil && s.live != nil:
		return nil, &BusyError{Changing: *s.changing()}
	default:
		return nil, &RefusedError{Err: fmt.Errorf("no scheduled command can run: %s", why)}
	}
	c := s.live.plan.cron(name)
	if c == nil {
		return nil, &RefusedError{Usage: true, Err: fmt.Errorf("there is no scheduled command %q; superctl cron lists them", name)}
	}
	running := sc.running(name)
	switch {
	case len(running) == 0 || c.Overlap == CronAllow && len(running) < mostCronRuns:
		return c, nil
	case c.Overlap == CronReplace:
		for _, r := range running {
			r.cancel(errReplaced)
		}
		return nil, nil
	default:
		return nil, &RefusedError{Err: fmt.Errorf("%s still runs, since %s: wait until it has ended", name,
			api.Moment(running[0].Began))}
	}
}
