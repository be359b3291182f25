package supervisor

import (
	"strings"
	"testing"
	"time"
)

func TestStatusSaysThatTheLiveReleaseListensOnAnEarlierAddress(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		leaveNow(s)
		stop()
		w.options = func(o *Options) {
			o.Gates = []Gate{renamed(w, "web", "127.0.0.1:9999")}
			o.Former = func(string, string, string) (Gate, error) { return w.gate, nil }
		}
		s, stop = w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		st := s.Status()
		const why = "listener web is on 127.0.0.1:9999 in the config, and r1 still listens on "
		if st.Health != HealthDegraded || !strings.HasPrefix(st.Reason, why+w.gate.Address()) {
			t.Errorf("%s: %s", st.Health, st.Reason)
		}
		if l := st.Listeners[0]; l.Address != "127.0.0.1:9999" || l.Generation != 0 {
			t.Errorf("%+v", l)
		}
	})
}
