package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// newSocketSite returns a site with a socket unit.
func newSocketSite(t *testing.T, releases ...string) *Site {
	t.Helper()
	if why := Unavailable(); why != "" {
		t.Skip(why)
	}
	address := FreeAddress(t)
	file := filepath.Join(t.TempDir(), "superctl@shop.socket")
	must(
		t,
		os.WriteFile(
			file, fmt.Appendf(nil, "[Socket]\nListenStream=%s\nFileDescriptorName=web\nBacklog=2048\n", address), 0o644,
		),
	)
	s := newSite(
		t, Options{Address: "systemd:web", Units: []Bind{{From: file, To: "/etc/systemd/system/superctl@shop.socket"}}},
		releases...,
	)
	s.Address = address
	s.Run("systemctl", "start", "superctl@shop.socket").Want(0)
	return s
}

func TestASocketUnitPassesItsListener(t *testing.T) {
	s := newSocketSite(t, "r1", "r2")
	s.Start(t, "r1")
	if l := s.Status(t).Listeners; len(l) != 1 || l[0].Gate != "shared" || l[0].Name != "web" {
		t.Errorf("listeners: %+v", l)
	}
	requests := s.Load(t)
	s.Superctl("switch", "r2").Want(0)
	s.Superctl("rollback").Want(0)
	s.Run("systemctl", "reload", unit).Want(0)
	s.lossless(t, requests)
	if st := s.Status(t); st.Release != "r1" {
		t.Errorf("%q is live", st.Release)
	}
}

func TestABrokenReleaseOnASharedListenerGetsNoRequest(t *testing.T) {
	s := newSocketSite(t, "r1")
	must(t, s.Release("broken", apps.Behaviour{Fault: apps.Error500}))
	s.Edit(t, "bare.wsgi", "shop.wsgi") // which can answer 500
	s.Start(t, "r1")
	s.Edit(t, "[process.web.health]", "[process.web.health]\nunhealthy_after = \"100ms\"")
	requests := s.Load(t)
	s.Superctl("switch", "broken").Want(1).Says("500")
	s.lossless(t, requests)
	for _, rec := range requests.Stop().Records {
		if rec.Release != "r1" {
			t.Fatalf("a request was answered by %q", rec.Release)
		}
	}
}

// systemd passes its sockets only to the daemon, not to commands that run after its end.
func TestAStopEndsAServiceWithASocketUnit(t *testing.T) {
	s := newSocketSite(t, "r1")
	s.Start(t, "r1")
	s.Run("systemctl", "stop", unit).Want(0)
	if state := s.Property("ActiveState") + "/" + s.Property("Result"); state != "inactive/success" {
		t.Errorf("the service is %s", state)
	}
	s.noProcess(t)
	s.Run("systemctl", "start", unit).Want(0)
	s.Signal("KILL")
	s.Run("systemctl", "stop", unit).Want(0)
	s.noProcess(t)
}

func TestAConnectionStartsTheServiceByItsSocketUnit(t *testing.T) {
	s := newSocketSite(t, "r1")
	s.Start(t, "r1")
	s.Run("systemctl", "stop", unit).Want(0)
	r, err := load.Start(load.Config{
		Network: "tcp", Address: s.Address, Clients: 1, MaxRequests: 1, Timeout: harness.Patience,
		Shapes: []load.Shape{load.Get("/")},
	})
	must(t, err)
	ctx, cancel := harness.Limited(t.Context())
	defer cancel()
	if err := r.Wait(ctx, func(records []load.Record) bool { return len(records) == 1 }); err != nil {
		t.Error(err)
	}
	if res := r.Stop(); len(res.Failed()) > 0 {
		t.Errorf("it was lost: %s", res)
	}
	harness.Eventually(t, "the service is active", func() bool { return s.Property("ActiveState") == "active" })
}
