package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

// followed is what a client gets that attaches.
type followed struct {
	events []Event
	got    *api.Attached
	err    error
}

// attach attaches a client, and returns what it has got once it ends.
func attach(ctx context.Context, s *Supervisor) (ended chan followed) {
	ended = make(chan followed, 1)
	go func() {
		var f followed
		f.got, f.err = s.Attach(ctx, func(ev Event) { f.events = append(f.events, ev) })
		ended <- f
	}()
	synctest.Wait()
	return ended
}

// steps returns the steps that events say have ended.
func steps(events []Event) (names []string) {
	for _, ev := range events {
		if ev.Type == "end" || ev.Type == "fail" {
			names = append(names, ev.Step)
		}
	}
	return names
}

// inBackground begins a change whose client disappears when ctx ends.
func inBackground(ctx context.Context, s *Supervisor, req Request) (ended chan *Outcome) {
	ended = make(chan *Outcome, 1)
	req.Who = "the test"
	go func() {
		out, _ := s.Change(ctx, req, func(Event) {})
		ended <- out
	}()
	synctest.Wait()
	return ended
}

func TestAChangeContinuesWithoutItsClient(t *testing.T) {
	for step, after := range map[string]time.Duration{stepBefore: 10 * time.Second, stepProve: 32 * time.Second} {
		t.Run(step, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				w.releases["r2"] = behaviour{answerAfter: 5 * time.Second}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				h.took()
				w.hooks = func(ctx context.Context, c worker.Command) error {
					h.ran = append(h.ran, c.Args[0])
					if c.Args[0] != "before" {
						return nil
					}
					select {
					case <-time.After(30 * time.Second):
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				ctx, vanish := context.WithCancelCause(t.Context())
				ended := inBackground(ctx, s, Request{Kind: Switch, Release: "r2"})
				time.Sleep(after)
				if now := s.Status().Changing.Step; now != step {
					t.Fatalf("in step %s", now)
				}
				vanish(api.ErrClientGone)
				want(t, s, <-ended, Done, "r2")
				h.wants(t, "before", "after")
			})
		})
	}
}

func TestAChangeDoesNotBeginForAClientThatIsGone(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		ctx, vanish := context.WithCancelCause(t.Context())
		vanish(api.ErrClientGone)
		_, err := s.Change(ctx, Request{Kind: Switch, Release: "r1"}, func(Event) {})
		if refused := new(RefusedError); !errors.As(err, &refused) || len(w.procs) != 0 {
			t.Errorf("%v, %d workers", err, len(w.procs))
		}
	})
}

func TestAFollowerGetsTheStepsAndTheOutcomeOfTheChange(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		newHooked(w)
		w.releases["r2"] = behaviour{answerAfter: 5 * time.Second}
		w.says = func(_ worker.Command, line func(string)) { line("migrated") }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		ended := inBackground(t.Context(), s, Request{Kind: Switch, Release: "r2"})
		time.Sleep(2 * time.Second)
		follower := attach(t.Context(), s)
		out := <-ended
		f := <-follower
		if f.err != nil || !f.got.InProgress || f.got.Outcome != out {
			t.Fatalf("%+v, %v", f.got, f.err)
		}
		var want []string
		for _, step := range out.Steps {
			want = append(want, step.Name)
		}
		if !slices.Equal(steps(f.events), want) {
			t.Errorf("steps %v, want %v", steps(f.events), want)
		}
		began := f.events[slices.IndexFunc(f.events, func(ev Event) bool { return ev.Type == "begin" })]
		if began.Step != stepProve || began.Seconds != 2 {
			t.Errorf("the running step: %+v", began)
		}
		if f = <-attach(t.Context(), s); f.err != nil || f.got.InProgress || f.got.Outcome.Release != "r2" {
			t.Errorf("after the change: %+v, %v", f.got, f.err)
		}
	})
}

func TestAFollowerLeavesAndTheChangeContinues(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 5 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		ended := inBackground(t.Context(), s, Request{Kind: Switch, Release: "r1"})
		ctx, leave := context.WithCancel(t.Context())
		follower := attach(ctx, s)
		leave()
		if f := <-follower; !errors.Is(f.err, context.Canceled) {
			t.Errorf("%+v, %v", f.got, f.err)
		}
		want(t, s, <-ended, Done, "r1")
	})
}

func TestAFollowerIsToldOfTheNewestOutputOnly(t *testing.T) {
	var a followers
	a.tell(Event{Type: "end", Step: stepResolve})
	a.tell(Event{Type: "begin", Step: stepBefore})
	for range 5 * toldOutput {
		a.tell(Event{Type: "output", Step: stepBefore, Detail: "a line"})
	}
	a.tell(Event{Type: "output", Step: stepBefore, Detail: "the last line"})
	a.end()
	var got []Event
	for ev := range a.join() {
		got = append(got, ev)
	}
	if len(got) > toldOutput+5 || got[0].Step != stepResolve || got[1].Type != "begin" || got[len(got)-1].Detail != "the last line" {
		t.Errorf("%d events, from %+v to %+v", len(got), got[:2], got[len(got)-1])
	}
}

func TestTheWordOfAPreparedChangeIsItsClientsOnly(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		ctx, vanish := context.WithCancelCause(t.Context())
		_, ended := prepared(ctx, t, s, Request{Kind: Switch, Release: "r1"})
		follower := attach(t.Context(), s)
		vanish(api.ErrClientGone)
		if out := <-ended; out.Result != Aborted || !strings.Contains(out.Error, errHungUp.Error()) {
			t.Errorf("without its client: %+v", out)
		}
		if f := <-follower; slices.ContainsFunc(f.events, func(ev Event) bool { return ev.Type == "ready" || ev.Change != "" }) {
			t.Errorf("%+v", f.events)
		}
	})
}

// cancelRequest is a request with a reason.
func cancelRequest() api.CancelRequest { return api.CancelRequest{Who: "anna", Why: "wrong release"} }

func TestACanceledChangeIsAbortedAndNamesWhoCanceledIt(t *testing.T) {
	for name, strategy := range map[string]func(Plan) Plan{
		"overlap": func(p Plan) Plan { return p }, "hold": func(p Plan) Plan { p.Processes[0].Strategy, p.Processes[0].Hold = Hold, 10*time.Second; return p },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				h := newHooked(w)
				hooks := w.plan
				w.plan = func(p Plan) Plan { return strategy(hooks(p)) }
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				h.took()
				h.hang = "before"
				ended := inBackground(t.Context(), s, Request{Kind: Switch, Release: "r2"})
				time.Sleep(5 * time.Second)
				got, err := s.Cancel(t.Context(), cancelRequest())
				if err != nil || !got.Canceled {
					t.Fatalf("%+v, %v", got, err)
				}
				out := <-ended
				want(t, s, out, Aborted, "r1")
				if got.Change != out || !strings.HasSuffix(out.Error, "canceled by anna: wrong release") {
					t.Errorf("%s", out.Error)
				}
				h.wants(t, "before in /r/r2", "on_abort in /r/r2")
			})
		})
	}
}

func TestACanceledClientIsTheOneThatIsNamed(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: 5 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := inBackground(ctx, s, Request{Kind: Switch, Release: "r1", Detach: true})
		cancel(&api.CanceledError{Who: "bob"})
		if out := <-ended; out.Result != Aborted || !strings.Contains(out.Error, "canceled by bob") {
			t.Errorf("%+v", out)
		}
	})
}

func TestWhatCannotBeCanceledIsRefusedWithTheNextStep(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan { p.Probation = time.Minute; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		if got, err := s.Cancel(t.Context(), cancelRequest()); err != nil || got.Canceled || got.Change != nil {
			t.Errorf("nothing to cancel: %+v, %v", got, err)
		}
		switchTo(t, s, "r1")
		ended := inBackground(t.Context(), s, Request{Kind: Switch, Release: "r2"})
		time.Sleep(5 * time.Second)
		_, err := s.Cancel(t.Context(), cancelRequest())
		if refused := new(RefusedError); !errors.As(err, &refused) || refused.Usage ||
			!strings.Contains(err.Error(), "it has had its cutover, and is now in step probation; superctl rollback") {
			t.Errorf("after the cutover: %v", err)
		}
		want(t, s, <-ended, Done, "r2")
		_, err = s.Cancel(t.Context(), api.CancelRequest{Why: "a\x1b[2J"})
		if refused := new(RefusedError); !errors.As(err, &refused) || !refused.Usage {
			t.Errorf("a reason with an escape sequence: %v", err)
		}
	})
}

func TestAFollowerOfTheNextDaemonGetsTheEndOfTheChange(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan { p.Probation = time.Minute; return p }
		dir := leavesAt(t, w, "before probation")
		s, stop := w.starting(dir)
		defer stop()
		time.Sleep(5 * time.Second)
		follower := attach(t.Context(), s)
		_, err := s.Cancel(t.Context(), cancelRequest())
		if refused := new(RefusedError); !errors.As(err, &refused) || !strings.Contains(err.Error(), "the daemon is starting r2") {
			t.Errorf("%v", err)
		}
		f := <-follower
		if f.err != nil || !f.got.InProgress || f.got.Outcome.Kind != string(Switch) || f.got.Outcome.Result != Done {
			t.Fatalf("%+v, %v", f.got, f.err)
		}
		if last := s.Status().Last; last.Kind != string(Switch) || last.Release != "r2" {
			t.Errorf("the last change: %+v", last)
		}
	})
}
