package systemd

import (
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// Only the daemon has the listener on which connections wait, so systemd's descriptor store must
// keep it.
func TestConnectionsHeldForAMigrationOutliveTheDaemon(t *testing.T) {
	s := newSite(t, Options{Django: true}, "r1", "r2") // so that its start can be met
	s.Edit(t, "\n[listen.web]", "\n[hooks]\nbefore = [\"sleep 1\"]\n\n[listen.web]")
	s.Edit(t, `listen  = ["web"]`, "listen  = [\"web\"]\nstrategy = \"hold\"")
	s.Start(t, "r1")
	requests := s.Load(t)
	for _, step := range []string{"before", "preflight", "prove"} {
		before := s.Status(t).Release
		switched := make(chan Result, 1)
		go func() { switched <- s.Superctl("switch", map[string]string{"r1": "r2", "r2": "r1"}[before]) }()
		harness.Eventually(t, "the switch is at "+step, func() bool {
			return strings.Contains(s.Property("StatusText"), ": "+step)
		})
		daemon := s.MainPID(t)
		s.Signal("KILL")
		s.another(t, daemon)
		<-switched
		harness.Eventually(t, "the change has come to its end, and what is live serves", func() bool {
			st := s.Status(t)
			return st.Changing == nil && len(st.Generations) == 1 && st.Health == "ok"
		})
		if after := s.Status(t); (after.Release == before) == (step == "prove") {
			t.Errorf("killed at %s: %+v", step, after)
		}
	}
	s.lossless(t, requests)
}
