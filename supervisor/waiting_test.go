package supervisor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// oldServer has the starts of a world wait until a server that is not superctl's has ended.
type oldServer struct {
	ended chan struct{}
	asked int // how often a start was tried
	logs  *observer.ObservedLogs
	told  int // messages to the team
}

func (w *world) behind() *oldServer {
	old := &oldServer{ended: make(chan struct{})}
	core, logs := observer.New(zap.WarnLevel)
	old.logs = logs
	w.options = func(o *Options) {
		o.Log, o.Say = zap.New(core), func(string) {}
		o.Tell = func(Outcome) { w.set(func() { old.told++ }) }
		resolve := o.Resolve
		o.Resolve = func(ctx context.Context, t Target) (Plan, error) {
			if t.Starting() && t.Live == nil {
				w.set(func() { old.asked++ })
				select {
				case <-old.ended:
					t.Live = &Release{Name: "r1"} // where current leads
				default:
					return Plan{}, &WaitError{"gunicorn still serves", func(ctx context.Context) {
						select {
						case <-old.ended:
						case <-ctx.Done():
						}
					}}
				}
			}
			return resolve(ctx, t)
		}
	}
	return old
}

func TestAStartThatWaitsIsNoFailureAndDoesNotLookAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		old := w.behind()
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		st := s.Status()
		if !st.Waiting || st.Release != "" || st.Reason != "waiting for the old server: gunicorn still serves" {
			t.Errorf("status: waiting %t, %q is live, %q", st.Waiting, st.Release, st.Reason)
		}
		w.set(func() {
			if old.asked != 1 || len(w.records) != 0 || old.told != 0 || old.logs.Len() != 0 {
				t.Errorf("tried %d times; history %v; %d messages; log %v", old.asked, w.records, old.told, old.logs.All())
			}
		})
		close(old.ended)
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Waiting || st.Release != "r1" || st.Health != HealthOK {
			t.Errorf("after its end: waiting %t, %q is live, %s", st.Waiting, st.Release, st.Reason)
		}
	})
}

func TestAStartThatWaitsEndsWithASwitchAndGoesOnAfterARefusedOne(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["bad"] = behaviour{}, behaviour{answer: func(int) int { return 500 }}
		old := w.behind()
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		want(t, s, switchTo(t, s, "bad"), Aborted, "")
		synctest.Wait()
		if st := s.Status(); !st.Waiting {
			t.Errorf("after a refused switch: %s", st.Reason)
		}
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		close(old.ended)
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Waiting || st.Generation == 0 || len(st.Generations) != 1 {
			t.Errorf("waiting %t, generations %v", st.Waiting, st.Generations)
		}
		w.set(func() {
			if old.asked != 2 {
				t.Errorf("%d starts were tried", old.asked)
			}
		})
	})
}
