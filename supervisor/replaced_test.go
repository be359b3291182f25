package supervisor

import (
	"strings"
	"testing"
)

// directories has each release in a directory that a test replaces.
func directories(w *world) (replace func(release string)) {
	at := map[string]string{}
	w.plan = func(p Plan) Plan {
		w.set(func() { p.Release.Directory = "first " + at[p.Release.Name] })
		return p
	}
	w.options = func(o *Options) {
		o.Replaced = func(r Release) (replaced bool) {
			w.set(func() { replaced = r.Directory != "first "+at[r.Name] })
			return replaced
		}
	}
	return func(release string) { w.set(func() { at[release] += "again" }) }
}

func TestStatusSaysThatTheLiveReleaseWasReplacedOnDisk(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		replace := directories(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
		replace("r1")
		if st := s.Status(); st.Health != HealthDegraded || !strings.Contains(st.Reason, "the directory of r1 was replaced") {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
	})
}

func TestASwitchToAReplacedReleaseProvesItsNewCode(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		replace := directories(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		if out := switchTo(t, s, "r1"); out.Changed {
			t.Errorf("the same code again: %+v", out)
		}
		replace("r1")
		out := switchTo(t, s, "r1")
		want(t, s, out, Done, "r1")
		if st := s.Status(); !out.Changed || st.Generation != 2 || st.Health != HealthOK {
			t.Errorf("changed %v, generation %d is live, %s: %s", out.Changed, st.Generation, st.Health, st.Reason)
		}
		replace("r1")
		w.set(func() { w.releases["r1"] = behaviour{answer: func(int) int { return 500 }} })
		want(t, s, switchTo(t, s, "r1"), Aborted, "r1")
		if st := s.Status(); st.Generation != 2 {
			t.Errorf("generation %d is live", st.Generation)
		}
	})
}
