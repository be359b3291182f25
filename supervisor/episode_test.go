package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// healthTold collects what is told of the health of the app.
func healthTold(w *world) func() []string {
	var mu sync.Mutex
	var list []string
	w.options = func(o *Options) {
		o.Tell = func(out Outcome) {
			if out.Kind == HealthKind {
				mu.Lock()
				defer mu.Unlock()
				list = append(list, fmt.Sprintf("%s %s", out.Result, out.Release))
			}
		}
	}
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// killEvery kills the only web worker again and again, and has the next answer after a while.
func killEvery(w *world, every, answerAfter time.Duration, times int) {
	w.releases["r1"] = behaviour{answerAfter: answerAfter}
	for range times {
		w.mu.Lock()
		last := w.procs[len(w.procs)-1]
		w.mu.Unlock()
		last.die(worker.Exit{Known: true, Code: 3})
		time.Sleep(every)
	}
}

func TestATroubleIsToldOnceAndWhenItIsOver(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(w *world)
		told    string
	}{
		"a worker that is back at once is none": {func(w *world) { killEvery(w, time.Minute, time.Second, 3) }, ""},
		"one that needs 15 s to come back is": {
			func(w *world) { killEvery(w, time.Minute, 15*time.Second, 1) }, "down r1, ok r1",
		},
		"a crash loop is one": {
			func(w *world) { killEvery(w, 20*time.Second, 15*time.Second, 9) }, "down r1, ok r1",
		},
		"what flaps within ten seconds is one": {
			func(w *world) { killEvery(w, 5*time.Second, 3*time.Second, 9) }, "down r1, ok r1",
		},
		"two with minutes between them are two": {
			func(w *world) { killEvery(w, 3*time.Minute, 15*time.Second, 2) }, "down r1, ok r1, down r1, ok r1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				told := healthTold(w)
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				time.Sleep(time.Minute)
				test.happens(w)
				time.Sleep(10 * time.Minute)
				if got := strings.Join(told(), ", "); got != test.told {
					t.Errorf("told %q, not %q", got, test.told)
				}
			})
		})
	}
}

func TestATroubleThatOutlivesTheDaemonIsToldOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		told := healthTold(w)
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		delete(w.releases, "r1")
		stop()
		for range 3 {
			_, stop = w.supervisor(dir)
			time.Sleep(time.Minute)
			stop()
		}
		w.releases["r1"] = behaviour{}
		_, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(5 * time.Minute)
		if what := told(); !slices.Equal(what, []string{"down r1", "ok r1"}) {
			t.Errorf("told %q", what)
		}
	})
}
