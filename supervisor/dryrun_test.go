package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestADryRunSaysWhatAChangeWouldDoAndChangesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		told, dry := 0, []bool{}
		w.options = func(o *Options) {
			resolve := o.Resolve
			o.Resolve = func(ctx context.Context, target Target) (Plan, error) {
				dry = append(dry, target.DryRun)
				return resolve(ctx, target)
			}
			o.Tell = func(Outcome) { told++ }
			o.Inspect = func(_ context.Context, i Inspection, _ func(string)) (string, error) {
				if i.Plan.Release.Name == "r1" && !i.Force {
					return "", errors.New("the database has migrations that r1 does not know")
				}
				return "", nil
			}
		}
		w.plan = func(p Plan) Plan { p.Inspect = json.RawMessage(`{"what":"the project"}`); return p }
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		for _, r := range []string{"r1", "r2"} {
			if out, refused := askFor(t, s, Request{Kind: Switch, Release: r, Force: true}); refused != "" || out.Result != Done {
				t.Fatalf("%s: %s %+v", r, refused, out)
			}
		}
		synctest.Wait()
		before := []any{told, len(w.records), len(w.procs), w.pointed, s.Status().Last.Release, lines(t, dir)}
		for _, tc := range []struct {
			req     Request
			result  Result
			changed bool
			release string
		}{
			{Request{Kind: Switch, Release: "r2"}, Done, false, "r2"},
			{Request{Kind: Switch, Release: "r1"}, Aborted, false, "r1"},
			{Request{Kind: Switch, Release: "r1", Force: true}, Done, true, "r1"},
			{Request{Kind: Rollback}, Aborted, false, "r1"},
			{Request{Kind: Rollback, Force: true}, Done, true, "r1"},
			{Request{Kind: Reload}, Done, true, "r2"},
			{Request{Kind: Switch, Release: "r9"}, Aborted, false, "r9"},
			{Request{Kind: Switch, Release: "r1", Expect: "r1"}, Aborted, false, "r1"},
		} {
			dry = nil
			tc.req.DryRun = true
			out, refused := askFor(t, s, tc.req)
			if refused != "" || !out.DryRun || out.Result != tc.result || out.Changed != tc.changed ||
				out.Release != tc.release || out.Previous != "r2" {
				t.Errorf("%+v: %s %+v", tc.req, refused, out)
			}
			for _, d := range dry {
				if !d {
					t.Errorf("%+v: the release was not resolved for a dry run", tc.req)
				}
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		after := []any{told, len(w.records), len(w.procs), w.pointed, s.Status().Last.Release, lines(t, dir)}
		for i := range before {
			if before[i] != after[i] {
				t.Errorf("%v became %v", before, after)
			}
		}
	})
}

// lines returns what the state file says of the releases and generations.
func lines(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, stateName))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestADryRunOvertakesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		if out, refused := askFor(t, s, Request{Kind: Switch, Release: "r1"}); refused != "" || out.Result != Done {
			t.Fatalf("%s %+v", refused, out)
		}
		probation := make(chan struct{})
		ended := make(chan *Outcome, 1)
		go func() {
			out, _ := s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(ev Event) {
				if ev.Type == "begin" && ev.Step == stepProbation {
					close(probation)
				}
			})
			ended <- out
		}()
		<-probation
		if out, refused := askFor(t, s, Request{Kind: Rollback, DryRun: true}); !strings.Contains(refused, "in progress") {
			t.Errorf("%q %+v", refused, out)
		}
		if out := <-ended; out.Result != Done {
			t.Errorf("%+v", out)
		}
	})
}

func TestOnlyChangesOfTheReleaseHaveADryRun(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		if out, refused := askFor(t, s, Request{Kind: Switch, Release: "r1"}); refused != "" || out.Result != Done {
			t.Fatalf("%s %+v", refused, out)
		}
		for _, kind := range []Kind{Restart, Scale, Pause, Resume, Upgrade} {
			if _, refused := askFor(t, s, Request{Kind: kind, Process: "web", DryRun: true}); !strings.Contains(refused, "no dry run") {
				t.Errorf("%s: %q", kind, refused)
			}
		}
	})
}
