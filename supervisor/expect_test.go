package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// ask asks for a change and returns its outcome, or the text of its refusal.
func askFor(t *testing.T, s *Supervisor, req Request) (out *Outcome, refused string) {
	t.Helper()
	req.Who = "the test"
	out, err := s.Change(t.Context(), req, func(Event) {})
	if err != nil {
		return nil, err.Error()
	}
	return out, ""
}

func TestAChangeIsRefusedUnlessTheExpectedReleaseIsLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"], w.releases["r3"] = behaviour{}, behaviour{}, behaviour{}
		told := 0
		w.options = func(o *Options) { o.Tell = func(o Outcome) { told++ } }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		for _, tc := range []struct {
			req     Request
			result  Result
			changed bool
			live    string
		}{
			{Request{Kind: Switch, Release: "r1", Expect: "r1"}, Aborted, false, ""},
			{Request{Kind: Switch, Release: "r1", Expect: "none"}, Done, true, "r1"},
			{Request{Kind: Switch, Release: "r2", Expect: "none"}, Aborted, false, "r1"},
			{Request{Kind: Switch, Release: "r2", Expect: "r3"}, Aborted, false, "r1"},
			{Request{Kind: Switch, Release: "r2", Expect: "r1"}, Done, true, "r2"},
			{Request{Kind: Switch, Release: "r2", Expect: "r1"}, Done, false, "r2"}, // it is live already
			{Request{Kind: Reload, Expect: "r1"}, Aborted, false, "r2"},
			{Request{Kind: Reload, Expect: "r2"}, Done, true, "r2"},
		} {
			begun, records := told, len(w.records)
			out, refused := askFor(t, s, tc.req)
			if refused != "" || out.Result != tc.result || out.Changed != tc.changed || s.Status().Release != tc.live {
				t.Fatalf("%+v: %s %+v", tc.req, refused, out)
			}
			if tc.result == Aborted && (!strings.Contains(out.Error, "expected") || told != begun || len(w.records) != records) {
				t.Errorf("%+v: %q, %d messages, %d records", tc.req, out.Error, told-begun, len(w.records)-records)
			}
		}
	})
}

func TestARollbackFromAReleaseCanBeRepeated(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		from := Request{Kind: Rollback, Expect: "r2"}
		if out, refused := askFor(t, s, from); refused != "" || out.Changed || out.Result != Done {
			t.Errorf("nothing is live: %s %+v", refused, out)
		}
		switchTo(t, s, "r1")
		if out, refused := askFor(t, s, from); refused != "" || out.Changed || out.Release != "r1" {
			t.Errorf("there is no earlier release: %s %+v", refused, out)
		}
		switchTo(t, s, "r2")
		for i := range 3 {
			out, refused := askFor(t, s, from)
			if refused != "" || out.Result != Done || out.Changed != (i == 0) || out.Release != "r1" ||
				s.Status().Release != "r1" {
				t.Errorf("%d: %s %+v", i, refused, out)
			}
		}
	})
}

func TestARollbackFromAnotherReleaseDoesNotEndAProbation(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		first := make(chan *Outcome)
		go func() { first <- switchTo(t, s, "r2") }()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var busy *BusyError
		if _, err := s.Change(t.Context(), Request{Kind: Rollback, Expect: "r1"}, func(Event) {}); !errors.As(err, &busy) {
			t.Errorf("from r1: %v", err)
		}
		want(t, s, change1(t, s, Request{Kind: Rollback, Expect: "r2"}), Done, "r1")
		if out := <-first; out.Result != Reverted {
			t.Errorf("%+v", out)
		}
	})
}

func TestARunIsKeptInTheHistoryTheStatusAndTheHooks(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan {
			p.Hooks = Hooks{Before: [][]string{{"migrate"}}, Timeout: time.Minute}
			return p
		}
		var env []string
		w.hooks = func(_ context.Context, c worker.Command) error { env = c.Env; return nil }
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		run := Origin{Run: "20261129-1", Behalf: "anna"}
		change1(t, s, Request{Kind: Switch, Release: "r1", Origin: run})
		for _, kv := range []string{"SUPERCTL_RUN=20261129-1", "SUPERCTL_BY=anna", "SUPERCTL_WHO=anna (the test)"} {
			if !slices.Contains(env, kv) {
				t.Errorf("no %s in %q", kv, env)
			}
		}
		if r := w.records[0]; r.Run != run.Run || r.Behalf != "anna" {
			t.Errorf("history: %+v", r)
		}
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		if st := s.Status(); st.Run != run.Run || st.LiveOrigin.By(st.LiveBy) != "anna (the test)" {
			t.Errorf("status: run %q, %+v", st.Run, st.LiveOrigin)
		}
		switchTo(t, s, "r2")
		if st := s.Status(); st.Run != "" || slices.ContainsFunc(env, func(kv string) bool {
			return strings.HasPrefix(kv, "SUPERCTL_RUN=")
		}) {
			t.Errorf("without a run: run %q, hooks %q", st.Run, env)
		}
	})
}

func TestTheRunThatMadeAReleaseLiveTakesItBackWithoutTheCheckOfMigrations(t *testing.T) {
	objection := errors.New("r1 does not know 0042_prices")
	mine := Origin{Run: "mine"}
	for name, tc := range map[string]struct {
		req    Request
		result Result
	}{
		"its run":           {Request{Kind: Rollback, Expect: "r2", Origin: mine}, Done},
		"another run":       {Request{Kind: Rollback, Expect: "r2", Origin: Origin{Run: "other"}}, Aborted},
		"no run":            {Request{Kind: Rollback, Expect: "r2"}, Aborted},
		"from no release":   {Request{Kind: Rollback, Origin: mine}, Aborted},
		"a switch, its run": {Request{Kind: Switch, Release: "r1", Expect: "r2", Origin: mine}, Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
				w.plan = func(p Plan) Plan { return p }
				in := newInspector(w)
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				change1(t, s, Request{Kind: Switch, Release: "r2", Origin: mine})
				in.objects, in.asked = objection, nil
				out := change1(t, s, tc.req)
				warned := slices.Contains(out.Warnings, "the migrations were not checked: run mine reverts what it made live")
				if out.Result != tc.result || warned != (tc.result == Done) || (in.took() == "") != warned {
					t.Errorf("%s (%s), warnings %q", out.Result, out.Error, out.Warnings)
				}
			})
		})
	}
}

func TestAWrongClaimAboutARunIsRefused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		for _, req := range []Request{
			{Kind: Switch, Release: "r1", Origin: Origin{Run: "a b"}},
			{Kind: Switch, Release: "r1", Origin: Origin{Run: strings.Repeat("x", 65)}},
			{Kind: Switch, Release: "r1", Origin: Origin{Run: "x", Behalf: "anna\x1b[2J"}},
			{Kind: Switch, Release: "r1", Origin: Origin{Run: "x", Behalf: strings.Repeat("ä", 101)}},
			{Kind: Restart, Process: "web", Expect: "r1"},
			{Kind: Rollback, Expect: "none"},
		} {
			var no *RefusedError
			if _, err := s.Change(t.Context(), req, func(Event) {}); !errors.As(err, &no) || !no.Usage {
				t.Errorf("%+v: %v", req, err)
			}
		}
	})
}

func TestTheStatusTellsATakeBackFromWhatTheRunMadeLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		first, second := Origin{Run: "1"}, Origin{Run: "2"}
		change1(t, s, Request{Kind: Switch, Release: "r1", Origin: first})
		change1(t, s, Request{Kind: Switch, Release: "r2", Origin: second})
		if st := s.Status(); st.Run != "2" || st.TakenBack {
			t.Errorf("turned: run %q, taken back %v", st.Run, st.TakenBack)
		}
		want(t, s, change1(t, s, Request{Kind: Rollback, Expect: "r2", Origin: second}), Done, "r1")
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		if st := s.Status(); st.Run != "2" || !st.TakenBack {
			t.Errorf("taken back: run %q, taken back %v", st.Run, st.TakenBack)
		}
	})
}
