package site

import (
	"cmp"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

//go:embed guarded.py
var guardedApp string

// guardRuns is how often a test of the guard repeats its switch: SUPERCTL_GUARDS, or a few times.
// Good releases are switched to ten times as often.
func guardRuns(usually int) (n int, counted bool) {
	if n, err := strconv.Atoi(os.Getenv("SUPERCTL_GUARDS")); err == nil {
		return n, true
	}
	return usually, false
}

// guardedSite returns a site whose release r1 is live; r2 answers 500 to half of its users if bad.
// All releases do while the file hiccup is there.
func guardedSite(t *testing.T, address, probation string, bad bool) (a *harness.App, hiccup string) {
	t.Helper()
	fault := ""
	if bad {
		fault = "bad"
	}
	return guardedBy(t, "gunicorn --worker-class gthread --workers 2 --threads 2 guarded:wsgi", address, probation, fault)
}

// guardedBy is guardedSite with another server. r2 has the fault whose file that is; "" = it has none.
func guardedBy(t *testing.T, command, address, probation, fault string) (a *harness.App, hiccup string) {
	t.Helper()
	return guardedWith(t, "", command, address, probation, fault)
}

// guardedWith is guardedBy with lines for the process in the config.
func guardedWith(t *testing.T, process, command, address, probation, fault string) (a *harness.App, hiccup string) {
	t.Helper()
	hiccup = filepath.Join(t.TempDir(), "hiccup")
	a = harness.New(t, run, harness.Options{
		Server:  harness.Server{Name: "guarded", Command: command},
		Address: address, Web: process, Top: `probation = "` + probation + `"`, Env: fmt.Sprintf("HICCUP = %q", hiccup),
	})
	a.Releases("r1", "r2")
	for _, release := range []string{"r1", "r2"} {
		a.WriteFile("releases/"+release+"/guarded.py", guardedApp)
	}
	if fault != "" {
		a.WriteFile("releases/r2/"+fault, "")
	}
	a.Start("r1")
	return a, hiccup
}

// visit sends 20 requests a second, as users do who come with nginx or by themselves.
func visit(a *harness.App) *load.Run {
	return a.Load(load.Config{
		Clients: 8, Rate: 20, KeepAlive: true, FreshClients: 4, MaxDuration: 2 * time.Hour, Shapes: []load.Shape{load.Get("/")},
	})
}

func TestAReleaseThatFailsForHalfOfItsUsersIsTakenBack(t *testing.T) {
	t.Parallel()
	n, counted := guardRuns(1)
	for name, soon := range map[string]time.Duration{
		"TCP": 15 * time.Second, "unix socket": 20 * time.Second, // the releases take turns there
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := ""
			if name != "TCP" {
				address = "unix:" + filepath.Join(t.TempDir(), "web.sock")
			}
			a, _ := guardedSite(t, address, "10s", true)
			for range n {
				r := visit(a)
				a.More(r, 60)
				o := a.Change(5, "switch", "r2")
				ended := time.Now()
				a.More(r, 60)
				res := r.Stop()
				if !strings.HasPrefix(o.Error, "probation: web: 5xx 0 % -> ") ||
					!strings.Contains(strings.Join(o.Log, "\n"), "ValueError: no such template") {
					t.Errorf("error %q, log %q", o.Error, o.Log)
				}
				for i := range res.Records {
					rec := &res.Records[i]
					if rec.Opened.After(ended) && rec.Release != "r1" {
						t.Errorf("%s answered a connection after the revert", rec.Release)
					}
					if rec.Status == 0 {
						t.Errorf("a request is lost: %s", rec.Err)
					}
				}
				took := sinceCutover(t, o.Steps)
				t.Logf("%s after the cutover: %s", took, o.Error)
				if counted && took > soon {
					t.Errorf("it took %s", took)
				}
			}
		})
	}
}

// With a control the old release keeps its part from the cutover on: both answer in the probation.
func TestAControlKeepsAPartOfTheConnections(t *testing.T) {
	t.Parallel()
	for fault, exit := range map[string]int{"bad": 5, "": 0} {
		t.Run("r2 is "+cmp.Or(fault, "good"), func(t *testing.T) {
			t.Parallel()
			a, _ := guardedWith(t, `guard = { control = "20%" }`,
				"gunicorn --worker-class gthread --workers 2 --threads 2 guarded:wsgi", "", "10s", fault)
			r := visit(a)
			a.More(r, 60)
			change := a.Begin("switch", "r2", "--json")
			harness.Eventually(t, "r1 has its part", func() bool {
				st := a.Status()
				return st.Changing == nil || st.Changing.OldShare == 20 && st.Listeners[0].Canary != 0
			})
			change.Wait().Want(exit)
			ended, o := time.Now(), change.Outcome()
			a.More(r, 60)
			if len(o.Guard) != 1 || o.Guard[0].OldRequests == 0 || o.Guard[0].OldErrors != 0 {
				t.Errorf("guard: %+v", o.Guard)
			}
			live := "r2"
			if exit != 0 {
				live = "r1"
				t.Logf("%s after the cutover: %s", sinceCutover(t, o.Steps), o.Error)
			}
			for _, rec := range r.Stop().Records {
				if rec.Status == 0 || rec.Opened.After(ended) && rec.Release != live {
					t.Errorf("%+v", rec)
				}
			}
		})
	}
}

// uWSGI closes the connection without an answer if the app raises an exception.
func TestAReleaseThatRaisesInUWSGIIsTakenBack(t *testing.T) {
	t.Parallel()
	a, _ := guardedBy(t, "uwsgi --processes 2 --module guarded:wsgi", "", "10s", "raises")
	r := visit(a)
	a.More(r, 60)
	o := a.Change(5, "switch", "r2")
	ended := time.Now()
	a.More(r, 60)
	if !strings.HasPrefix(o.Error, "probation: web: 5xx or no answer 0 % -> ") ||
		!strings.Contains(strings.Join(o.Log, "\n"), "ValueError: no such template") {
		t.Errorf("error %q, log %q", o.Error, o.Log)
	}
	t.Logf("%s after the cutover: %s", sinceCutover(t, o.Steps), o.Error)
	for _, rec := range r.Stop().Records {
		if rec.Opened.After(ended) && (rec.Status == 0 || rec.Release != "r1") {
			t.Errorf("after the revert: %+v", rec)
		}
	}
}

func TestAReleaseThatIsSlowIsTakenBack(t *testing.T) {
	t.Parallel()
	a, _ := guardedWith(t, `guard = { latency = "revert" }`,
		"gunicorn --worker-class gthread --workers 2 --threads 8 guarded:wsgi", "", "30s", "slow")
	r := visit(a)
	a.More(r, 150) // by fewer answers the latency of r1 is not known
	o := a.Change(5, "switch", "r2")
	ended := time.Now()
	a.More(r, 60)
	if !strings.HasPrefix(o.Error, "probation: web: p50 ") && !strings.HasPrefix(o.Error, "probation: web: p95 ") ||
		!strings.Contains(o.Error, " answers took longer than ") {
		t.Errorf("error %q", o.Error)
	}
	t.Logf("%s after the cutover: %s", sinceCutover(t, o.Steps), o.Error)
	for _, rec := range r.Stop().Records {
		if rec.Status != 200 || rec.Opened.After(ended) && rec.Release != "r1" {
			t.Errorf("%+v", rec)
		}
	}
	a.Command("history").Want(0).Says("reverted", " answers took longer than ")
}

// The workers answer their health checks, and leave all users without an answer.
func TestAReleaseThatStopsAnsweringIsTakenBack(t *testing.T) {
	t.Parallel()
	a, _ := guardedWith(t, `guard = { rate = "revert" }`, "uvicorn guarded:asgi --fd {fd.web} --lifespan off", "", "10s", "hangs")
	// Many clients: those that wait for an answer ask for nothing else.
	r := a.Load(load.Config{
		Clients: 200, Rate: 20, KeepAlive: true, FreshClients: 100, Timeout: 5 * time.Second, Shapes: []load.Shape{load.Get("/")},
	})
	a.More(r, 150) // by fewer answers the longest of r1 is not known
	o := a.Change(5, "switch", "r2")
	ended := time.Now()
	a.More(r, 60)
	if !strings.HasPrefix(o.Error, "probation: web: 0 answers in ") || !strings.Contains(o.Error, " requests wait; r1 had ") {
		t.Errorf("error %q", o.Error)
	}
	t.Logf("%s after the cutover: %s", sinceCutover(t, o.Steps), o.Error)
	for _, rec := range r.Stop().Records {
		if rec.Opened.After(ended) && (rec.Status != 200 || rec.Release != "r1") {
			t.Errorf("%+v", rec)
		}
	}
	a.Command("history").Want(0).Says("reverted", " requests wait")
}

// sinceCutover returns the time from the end of the cutover to the end of the revert.
func sinceCutover(t *testing.T, steps []harness.Step) time.Duration {
	t.Helper()
	var from, to time.Time
	for _, st := range steps {
		end := st.Began.Add(time.Duration(st.Seconds * float64(time.Second)))
		switch st.Name {
		case "cutover":
			from = end
		case "revert":
			to = end
		}
	}
	if from.IsZero() || to.IsZero() {
		t.Fatalf("steps: %+v", steps)
	}
	return to.Sub(from)
}

func TestAGoodReleaseOutlivesAHiccup(t *testing.T) {
	t.Parallel()
	n, counted := guardRuns(1)
	if counted {
		n *= 10
	}
	a, hiccup := guardedSite(t, "", "4s", false)
	r := visit(a)
	a.More(r, 60)
	for i := range n {
		release := []string{"r2", "r1"}[i%2]
		change := a.Begin("switch", release, "--json")
		harness.Eventually(t, "the probation", func() bool {
			c := a.Status().Changing
			return c != nil && c.Step == "probation"
		})
		if err := os.WriteFile(hiccup, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the releases are compared", func() bool {
			st := a.Status()
			return st.Changing == nil || st.Listeners[0].Canary != 0
		})
		a.More(r, 40) // both fail
		if err := os.Remove(hiccup); err != nil {
			t.Fatal(err)
		}
		change.Wait().Want(0)
		if o := change.Outcome(); len(o.Guard) != 1 || o.Guard[0].Verdict != "no worse" {
			t.Errorf("guard: %+v", o.Guard)
		}
		a.More(r, 20)
	}
	for _, rec := range r.Stop().Records {
		if rec.Status == 0 {
			t.Errorf("a request is lost: %s", rec.Err)
		}
	}
}

func TestACanaryThatFailsForHalfOfItsUsersIsTakenBack(t *testing.T) {
	t.Parallel()
	a, _ := guardedSite(t, "", "0s", true)
	r := visit(a)
	a.More(r, 60)
	o := a.Change(5, "switch", "r2", "--canary", "50%", "--for", "2m")
	ended := time.Now()
	a.More(r, 60)
	if !strings.HasPrefix(o.Error, "canary: at 50 %: web: 5xx 0 % -> ") {
		t.Errorf("error %q", o.Error)
	}
	for _, rec := range r.Stop().Records {
		if rec.Status == 0 || rec.Opened.After(ended) && rec.Release != "r1" {
			t.Errorf("%+v", rec)
		}
	}
	a.Command("history").Want(0).Says("reverted", "5xx 0 % -> ")
}
