package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

func withStandby(p Plan) Plan { p.Standby = 5 * time.Minute; return p }

func TestARollbackToAWarmGenerationStartsNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{answerAfter: time.Second}, behaviour{answerAfter: time.Second}
		w.plan = withStandby
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		began := time.Now()
		out := change1(t, s, Request{Kind: Rollback})
		want(t, s, out, Done, "r1")
		if len(w.procs) != 2 || time.Since(began) != 0 {
			t.Errorf("%d workers started, %s", len(w.procs), time.Since(began))
		}
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r2")
	})
}

func TestAWarmGenerationIsLetGoWhenItsTimeIsOver(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.plan = withStandby
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if st := s.Status(); len(st.Generations) != 1 {
			t.Errorf("%d generations", len(st.Generations))
		}
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		if len(w.procs) != 3 {
			t.Errorf("%d workers started", len(w.procs))
		}
	})
}

func TestAWarmGenerationWhoseTimeEndsDuringAChangeIsLetGoAfterIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.releases["never"] = behaviour{answerAfter: time.Hour}
		w.plan = func(p Plan) Plan { p.Standby = 30 * time.Second; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		want(t, s, switchTo(t, s, "never"), Aborted, "r2") // it takes a minute
		time.Sleep(time.Second)
		synctest.Wait()
		if st := s.Status(); len(st.Generations) != 1 {
			t.Errorf("generations %+v", st.Generations)
		}
	})
}
