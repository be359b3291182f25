package supervisor

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// singleWorld has releases r1 and r2 of an app with workers and a beat, whose stop takes 5 s. The
// beat of r2 dies after half a second.
func singleWorld(w *world) {
	w.releases["r1"], w.releases["r2"] = behaviour{only: "beat", stopTakes: 5 * time.Second}, behaviour{
		only: "beat", exitAfter: 500 * time.Millisecond,
	}
	w.plan = func(p Plan) Plan {
		p.Processes = append(p.Processes, background("beat", Single), background("worker", Overlap))
		return p
	}
}

// intact fails the test unless the release is live with all that it has, and nothing else runs.
func intact(t *testing.T, w *world, s *Supervisor, release string) {
	t.Helper()
	synctest.Wait()
	st := s.Status()
	if st.Release != release || st.Health != HealthOK || len(st.Generations) != 1 || st.Changing != nil {
		t.Errorf("status %+v", st)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range []string{"web", "beat", "worker"} {
		if w.running[name] != 1 {
			t.Errorf("%d of %s run", w.running[name], name)
		}
	}
	if w.peak["beat"] != 1 {
		t.Errorf("%d beats ran at once", w.peak["beat"])
	}
	for _, p := range w.procs {
		if p.alive() && p.spec.Release != release {
			t.Errorf("%s of %s runs", p.spec.Process, p.spec.Release)
		}
	}
}

// The old beat stops (5 s), the new one starts and dies, the old one is started: the daemon ends at
// every quarter of a second of that.
func TestADaemonThatEndsWhileASingleProcessIsReplacedIsFollowedByOneThatTakesItBack(t *testing.T) {
	for after := time.Duration(0); after < 8*time.Second; after += 250 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				singleWorld(w)
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				s.opt.Fault = func(at string) {
					if at == "switch: before follow" {
						time.AfterFunc(after, func() { leaveNow(s) })
					}
				}
				_, _ = s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
				time.Sleep(10 * time.Second)
				stop()
				s, stop = w.supervisor(dir)
				defer stop()
				time.Sleep(2 * time.Minute)
				intact(t, w, s, "r1")
			})
		})
	}
}

func TestAReleaseThatComesBackHasAllItsProcessesAlsoWhenOneNeedsASecondStart(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		singleWorld(w)
		beats := 0
		w.each = func(release, process string, how behaviour) behaviour {
			if release == "r1" && process == "beat" {
				if beats++; beats == 2 {
					how.exitAfter = time.Millisecond
				}
			}
			return how
		}
		w.releases["r2"] = behaviour{only: "worker", exitAfter: time.Millisecond}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		for _, p := range w.procs {
			if p.spec.Process == "worker" {
				p.die(worker.Exit{}) // and is in its back-off when all goes back
			}
		}
		out := switchTo(t, s, "r2")
		want(t, s, out, Reverted, "r1")
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "beat.0 ended") {
			t.Errorf("warnings %q", out.Warnings)
		}
		time.Sleep(time.Minute)
		intact(t, w, s, "r1")
	})
}

func TestAfterACrashOneProcessThatDoesNotStartKeepsNoOtherFromRunning(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		singleWorld(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		leaveNow(s)
		stop()
		for _, p := range w.procs {
			if p.spec.Process != "web" {
				p.die(worker.Exit{})
			}
		}
		w.releases["r1"] = behaviour{only: "beat", exitAfter: time.Millisecond}
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.mu.Lock()
		if w.running["worker"] != 1 {
			t.Errorf("running: %v", w.running)
		}
		w.releases["r1"] = behaviour{}
		w.mu.Unlock()
		time.Sleep(2 * time.Minute)
		intact(t, w, s, "r1")
	})
}

// The release between does not have the process, and is soon replaced itself: the first one's beat
// has not finished.
func TestASingleProcessWaitsForItsNamesakeInEveryEarlierGeneration(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		singleWorld(w)
		w.releases["r1"] = behaviour{only: "beat", stopTakes: 25 * time.Second}
		w.releases["r2"], w.releases["r3"] = behaviour{}, behaviour{}
		all := w.plan
		w.plan = func(p Plan) Plan {
			p.Probation = 0
			if p.Release.Name == "r2" {
				return p
			}
			return all(p)
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		want(t, s, switchTo(t, s, "r3"), Done, "r3")
		time.Sleep(time.Minute)
		intact(t, w, s, "r3")
	})
}

// Without systemd nobody keeps the listeners, and when no worker does either the next daemon begins
// anew.
func TestADaemonThatBeginsAnewWaitsForTheSingleProcessOfTheOneBefore(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		singleWorld(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		leaveNow(s)
		stop()
		for _, p := range w.procs {
			if p.spec.Process == "web" {
				p.die(worker.Exit{})
			}
		}
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		intact(t, w, s, "r1")
	})
}

// chainWorld has releases of an app with background processes that take a second each to be ready:
// beat and mail after worker, and audit after mail.
func chainWorld(w *world, failing string) {
	w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{only: failing, exitAfter: 500 * time.Millisecond}
	w.plan = func(p Plan) Plan {
		for _, b := range []struct {
			name  string
			after []string
		}{{"worker", nil}, {"metrics", nil}, {"beat", []string{"worker", "web"}}, {"mail", []string{"worker"}}, {
			"audit", []string{"metrics", "mail"},
		}} {
			process := background(b.name, Overlap)
			process.After = b.after
			p.Processes = append(p.Processes, process)
		}
		return p
	}
}

// starts is when each process of a release was first started, counted from the first background
// one, in seconds.
func starts(w *world, release string) map[string]float64 {
	first := time.Time{}
	at := make(map[string]float64)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.spec.Release != release || p.spec.Process == "web" {
			continue
		}
		if first.IsZero() {
			first = p.born
		}
		if _, again := at[p.spec.Process]; !again {
			at[p.spec.Process] = p.born.Sub(first).Seconds()
		}
	}
	return at
}

func TestBackgroundProcessesStartSideBySideButAfterThoseTheyName(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		chainWorld(w, "none")
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		for _, release := range []string{"r1", "r2"} {
			want(t, s, switchTo(t, s, release), Done, release)
			if at := starts(w, release); !maps.Equal(at, map[string]float64{
				"worker": 0, "metrics": 0, "beat": 1, "mail": 1, "audit": 2,
			}) {
				t.Errorf("%s: started at %v", release, at)
			}
		}
	})
}

func TestABackgroundProcessThatFailsKeepsThoseAfterItFromStarting(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		chainWorld(w, "worker")
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Reverted, "r1")
		if !strings.HasPrefix(out.Error, "follow: worker.0 ended") {
			t.Errorf("reverted because %q", out.Error)
		}
		if at := starts(w, "r2"); !maps.Equal(at, map[string]float64{"worker": 0, "metrics": 0}) {
			t.Errorf("started at %v", at)
		}
	})
}

func TestAfterACrashWhatFailsKeepsNothingAfterItFromStarting(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		chainWorld(w, "none")
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r2")
		stop()
		w.procs = nil
		w.releases["r2"] = behaviour{only: "worker", exitAfter: 500 * time.Millisecond}
		_, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		if at := starts(w, "r2"); !maps.Equal(at, map[string]float64{
			"worker": 0, "metrics": 0, "beat": 0.5, "mail": 0.5, "audit": 1.5,
		}) {
			t.Errorf("started at %v", at)
		}
	})
}

func withBeat(p Plan) Plan {
	p.Processes = append(p.Processes, background("worker", Overlap), background("beat", Single))
	return p
}

func TestTwoWorkersOfASingleProcessNeverRunAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{only: "beat", stopTakes: 5 * time.Second}
		w.releases["r2"] = behaviour{only: "web", exitAfter: 9 * time.Second} // in its probation: it goes back
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		want(t, s, switchTo(t, s, "r2"), Reverted, "r1")
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "beat"}), Done, "r1")
		if w.peak["beat"] != 1 {
			t.Errorf("%d beats ran at once", w.peak["beat"])
		}
		if w.running["beat"] != 1 || w.running["worker"] != 1 {
			t.Errorf("running: %v", w.running)
		}
	})
}

func TestABackgroundProcessThatFailsTakesTheWebBackWithIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{only: "beat", exitAfter: time.Millisecond}
		w.plan = withBeat
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out := switchTo(t, s, "r2")
		want(t, s, out, Reverted, "r1")
		if w.running["beat"] != 1 || w.peak["beat"] != 1 {
			t.Errorf("%d beats run, at most %d", w.running["beat"], w.peak["beat"])
		}
	})
}
