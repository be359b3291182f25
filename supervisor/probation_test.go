package supervisor

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

func TestAReleaseThatFailsItsProbationIsReverted(t *testing.T) {
	failing := map[string]behaviour{
		"its worker dies":      {exitAfter: 4 * time.Second},
		"its answers turn bad": {answer: func(n int) int { return map[bool]int{true: 200, false: 503}[n < 12] }},
	}
	for name, how := range failing {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["bad"] = behaviour{}, how
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				out := switchTo(t, s, "bad")
				want(t, s, out, Reverted, "r1")
				if w.pointed != "r1" {
					t.Errorf("current points to %s", w.pointed)
				}
				if !slices.Equal(w.gate.turns, []int{1, 2, 1}) {
					t.Errorf("gate turns %v", w.gate.turns)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if st := s.Status(); len(st.Generations) != 1 || st.Generations[0].State != string(Live) ||
					st.Health != HealthOK {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

// The kernel closes the connections of a process that ends before it tells of its end.
func TestTheEndOfAWorkerIsTheReasonAndNotTheCheckThatItCutOff(t *testing.T) {
	for name, tc := range map[string]struct {
		canary *Canary
		result Result
	}{"in a canary": {threeSteps(), Aborted}, "on probation": {nil, Reverted}} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				const last = 12
				ends := func() {
					time.Sleep(endKnown / 2)
					w.newest("r2").die(worker.Exit{Known: true, Code: 3})
				}
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{leaves: time.Second, answer: func(n int) int {
					if n < last {
						return 200
					}
					if n == last {
						go ends()
					}
					return cut
				}}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				out := switchWith(t, s, "r2", tc.canary)
				want(t, s, out, tc.result, "r1")
				if !strings.Contains(out.Error, "web.0 ended after") || !strings.Contains(out.Error, "exit code 3") {
					t.Errorf("%s", out.Error)
				}
			})
		})
	}
}

func TestTheFirstReleaseThatFailsItsProbationLeavesNothingLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["bad"] = behaviour{exitAfter: 4 * time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "bad"), Reverted, "")
	})
}

func TestACheckThatTheEndOfTheProbationCutsOffIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// A dialer that honours the deadline of its context fails by its own clock, before the
		// context has ended.
		early := beforeItsEnd{ctx}
		asks := prober{policy: health.Policy{
			Check: health.Check{Path: "/", Timeout: time.Minute}, Interval: time.Second,
		}}
		asks.subject.Listeners = []health.Listener{{Name: "web", Dial: cutOff}}
		asks.ask(early, asks.steadily, func(r health.Result) bool {
			t.Errorf("it was taken for an answer: %+v", r)
			return false
		})
	})
}

// beforeItsEnd is a context whose deadline is there, and whose end is a moment late.
type beforeItsEnd struct{ context.Context } //nolint:containedctx // it is one

func (beforeItsEnd) Err() error { return nil }

// cutOff is a dialer whose connections fail at the deadline.
func cutOff(ctx context.Context) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	time.Sleep(time.Until(deadline))
	return nil, os.ErrDeadlineExceeded
}
