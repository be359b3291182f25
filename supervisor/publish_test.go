package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The static files of a release are there before it gets a connection, and the names that releases
// share follow the live one, in every strategy.
func TestStaticFilesAreThereBeforeTheirPages(t *testing.T) {
	for _, strategy := range []Strategy{Overlap, Rolling, Hold} {
		t.Run(string(strategy), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				for _, name := range []string{"r1", "r2", "r3"} {
					w.releases[name] = behaviour{}
				}
				w.releases["dies"] = behaviour{exitAfter: 3 * time.Second}
				var calls []string
				started := 0 // workers, when Publish was called last
				var refused, late error
				w.plan = func(p Plan) Plan {
					p.Assets, p.Probation = []Assets{{Name: "static", From: "static", To: "/srv/static"}}, 5*time.Second
					for i := range p.Processes {
						if len(p.Processes[i].Listen) > 0 {
							p.Processes[i].Strategy, p.Processes[i].Surge, p.Processes[i].Hold = strategy, 1, 10*time.Second
						}
					}
					return p
				}
				w.options = func(o *Options) {
					o.Publish = func(_ context.Context, p Plan) (string, error) {
						calls = append(calls, "publish "+p.Release.Name)
						started = len(w.procs)
						for _, proc := range w.procs {
							if p.Release.Name == "r3" && proc.spec.Release == "r3" {
								t.Error("r3 has a worker, and its static files are not published yet")
							}
						}
						return "", refused
					}
					o.Refresh = func(p Plan) error {
						calls = append(calls, "refresh "+p.Release.Name)
						return late
					}
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				after := func(req Request, result Result, want ...string) *Outcome {
					t.Helper()
					calls = nil
					out := change1(t, s, req)
					if out.Result != result || !slices.Equal(calls, want) {
						t.Errorf("%+v: %s %q, %q, want %s %q", req, out.Result, out.Error, calls, result, want)
					}
					return out
				}
				after(Request{Kind: Switch, Release: "r1"}, Done, "publish r1", "refresh r1")
				after(Request{Kind: Switch, Release: "r2"}, Done, "publish r2", "refresh r2")
				after(Request{Kind: Rollback}, Done, "publish r1", "refresh r1")
				after(Request{Kind: Reload}, Done, "publish r1", "refresh r1")
				refused = errors.New("assets.static: no room")
				out := after(Request{Kind: Switch, Release: "r3"}, Aborted, "publish r3")
				if strategy != Hold && len(w.procs) != started {
					t.Errorf("%d workers were started", len(w.procs)-started)
				}
				if out.Error != "publish: assets.static: no room" || s.Status().Release != "r1" {
					t.Errorf("%q, %s is live", out.Error, s.Status().Release)
				}
				refused, late = nil, errors.New("assets.static: no room")
				out = after(Request{Kind: Switch, Release: "r3"}, Done, "publish r3", "refresh r3")
				if !slices.Contains(out.Warnings, "assets.static: no room; it is tried again") {
					t.Errorf("it warns %q", out.Warnings)
				}
				late = nil
				after(Request{Kind: Switch, Release: "dies"}, Reverted, "publish dies", "refresh dies", "refresh r3")
			})
		})
	}
}

// After a loss of power, files may be missing that were published just before. A failure to publish them
// keeps no site down.
func TestStaticFilesArePublishedBeforeTheFirstStart(t *testing.T) {
	for name, refused := range map[string]error{"published": nil, "no room": errors.New("assets.static: no room")} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				var calls []string
				var fails error
				before := 0 // workers
				w.plan = func(p Plan) Plan {
					p.Assets = []Assets{{Name: "static", From: "static", To: "/srv/static"}}
					return p
				}
				w.options = func(o *Options) {
					o.Publish = func(_ context.Context, p Plan) (string, error) {
						calls = append(calls, "publish "+p.Release.Name)
						if n := len(w.processes()); n > before {
							t.Errorf("%d workers were started before", n-before)
						}
						return "", fails
					}
					o.Refresh = func(p Plan) error {
						calls = append(calls, "refresh "+p.Release.Name)
						return nil
					}
				}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				stop()
				calls, fails, before = nil, refused, len(w.processes())
				s, stop = w.supervisor(dir)
				defer stop()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if st := s.Status(); st.Release != "r1" || !slices.Equal(calls, []string{"publish r1", "refresh r1"}) {
					t.Errorf("%s is live (%s), after %q", st.Release, st.Reason, calls)
				}
			})
		})
	}
}
