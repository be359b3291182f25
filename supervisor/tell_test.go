package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var someTime = regexp.MustCompile(`after [0-9.]+ s`)

// audience takes what supervisors tell of changes.
type audience struct {
	mu   sync.Mutex
	told []Outcome
}

func listening(w *world, also func(*Options)) *audience {
	l := &audience{}
	w.options = func(o *Options) {
		o.Tell = func(out Outcome) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.told = append(l.told, out)
		}
		if also != nil {
			also(o)
		}
	}
	return l
}

func (l *audience) all() []Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}

func (l *audience) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = nil
}

// want fails the test unless just this was told, oldest first: kind, result and release of each.
func (l *audience) want(t *testing.T, lines ...string) {
	t.Helper()
	var got []string
	for _, o := range l.all() {
		text := strings.TrimSpace(fmt.Sprintf("%s %s %s from %s", o.Kind, o.Result, o.Release, o.Previous))
		if o.Error != "" {
			text += ": " + someTime.ReplaceAllString(o.Error, "after some time")
		}
		got = append(got, text)
	}
	if !slices.Equal(got, lines) {
		t.Errorf("told:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

func TestTheBeginningAndTheEndOfAChangeAreTold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.releases["bad"] = behaviour{startErr: fmt.Errorf("no such program")}
		w.releases["weak"] = behaviour{exitAfter: 3*time.Second + 7*time.Millisecond} // between two probes
		l := listening(w, nil)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		l.want(t, "switch  r1 from", "switch done r1 from")
		told := l.all()
		if a, b := told[0], told[1]; a.Started != b.Started || a.Who != "the test" || b.Generation != 1 ||
			len(b.Steps) == 0 {
			t.Errorf("%+v\n%+v", a, b)
		}

		l.forget()
		want(t, s, switchTo(t, s, "bad"), Aborted, "r1")
		l.want(
			t, "switch  bad from r1", "switch aborted bad from r1: prove: web.0 could not be started: no such program",
		)

		l.forget()
		want(t, s, switchTo(t, s, "weak"), Reverted, "r1")
		l.want(
			t, "switch  weak from r1",
			"switch reverted weak from r1: probation: web.0 ended after some time: exit code 3",
		)

		l.forget()
		switchTo(t, s, "r1") // is live already
		change1(t, s, Request{Kind: Restart, Process: "web"})
		l.want(t)
		change1(t, s, Request{Kind: Reload})
		l.want(t, "reload  r1 from r1", "reload done r1 from r1")
	})
}

func TestTheEndOfAChangeThatTheDaemonDoesNotSurviveIsToldOnceByTheNext(t *testing.T) {
	for _, c := range []struct {
		name, want string
		weak       time.Duration // after which r2 dies
	}{
		{"it works", "switch done r2 from r1", 0},
		{
			"it fails", "switch reverted r2 from r1: probation: web.0 ended after some time: exit code 3",
			6500 * time.Millisecond,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{exitAfter: c.weak}
				l := listening(w, nil)
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				l.forget()
				left := make(chan struct{})
				go func() {
					defer close(left)
					switchTo(t, s, "r2")
				}()
				awaitStep(t, s, stepProbation)
				began := s.Status().Changing.Since
				s.Leave()
				stop()
				<-left
				l.want(t, "switch  r2 from r1")

				_, stop = w.supervisor(dir)
				time.Sleep(time.Minute)
				l.want(t, "switch  r2 from r1", c.want)
				if end := l.all()[1]; !end.Started.Equal(began) || end.Who != "the test" || end.Seconds < 1 {
					t.Errorf("%+v", end)
				}
				stop()
				_, stop = w.supervisor(dir)
				l.want(t, "switch  r2 from r1", c.want)
				stop()
			})
		})
	}
}

// awaitStep waits until the change in progress is at a step.
func awaitStep(t *testing.T, s *Supervisor, step string) {
	t.Helper()
	for range 1000 {
		if c := s.Status().Changing; c != nil && c.Step == step {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the change never came to %s", step)
}

func TestAChangeWhoseDaemonWasKilledBeforeTheCutoverIsToldAsAborted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir, killed := t.TempDir(), t.TempDir()
		l := listening(w, func(o *Options) {
			o.Fault = func(point string) {
				if point == "switch: before prove" {
					copyFile(t, filepath.Join(dir, stateName), filepath.Join(killed, stateName))
				}
			}
		})
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		stop()
		l.forget()
		s, stop = w.supervisor(killed)
		defer stop()
		l.want(t, "switch aborted r2 from r1: the daemon ended before the cutover")
		if got := s.Status().Release; got != "r1" {
			t.Errorf("%s is live", got)
		}
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestTheHistoryHasAChangeThatTheNextDaemonFinishesAsWhatItWas(t *testing.T) {
	for point, result := range map[string]Result{"after before": Aborted, "after cutover": Done} {
		virtual(t, func(t *testing.T, w *world) {
			w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
			w.plan = func(p Plan) Plan {
				p.Hooks = Hooks{Before: [][]string{{"migrate"}}, Timeout: time.Minute}
				return p
			}
			dir := leavesAt(t, w, point)
			_, stop := w.supervisor(dir)
			time.Sleep(time.Minute)
			stop()
			last := w.records[len(w.records)-1]
			if last.Kind != string(Switch) || last.Release != "r2" || last.Previous != "r1" || last.Result != result {
				t.Errorf("cut %s: %+v", point, last)
			}
		})
	}
}
