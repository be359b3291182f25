package takeover

import (
	"fmt"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/systemd"
)

// newApp boots a machine on which superctl serves release r1 of the shop.
func newApp(t *testing.T, command string) *site {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	s := &site{Site: systemd.NewSite(t, run, systemd.Options{}, "r1")}
	s.Edit(t, "gunicorn --workers 2 shop.wsgi", command)
	s.Run("chown", "-R", "shop:", "/srv/shop/releases").Want(0)
	s.Run("systemctl", "enable", "superctl@shop").Want(0)
	s.Start(t, "r1")
	return s
}

// wantEjected fails the test unless the plain server serves alone, now and after a boot.
func (s *site) wantEjected(t *testing.T) {
	t.Helper()
	if g := s.generation(t); g != 0 {
		t.Errorf("generation %d answers", g)
	}
	got := fmt.Sprint(s.unit("shop", "ActiveState"), " ", s.unit("shop.socket", "ActiveState"), " ",
		s.unit("shop.socket", "UnitFileState"), " ", s.unit("superctl@shop", "ActiveState"), " ",
		s.unit("superctl@shop", "UnitFileState"))
	if got != "active active enabled inactive disabled" {
		t.Errorf("the units are %s", got)
	}
}

func TestAnAppIsReplacedByAPlainUnitWithoutLoss(t *testing.T) {
	for name, command := range map[string]string{
		"gunicorn": "gunicorn --workers 2 --threads 4 shop.wsgi",
		"uvicorn":  "uvicorn shop.asgi:application",
	} {
		t.Run(name, func(t *testing.T) {
			s := newApp(t, command)
			s.Superctl("eject").Want(0).Says("+ListenStream=" + s.Address).Says("Nothing was changed")
			requests := s.load(t)
			s.Superctl("eject", "--apply").Want(0).Says("shop.service serves " + s.Address)
			t.Logf("%d requests", s.lossless(t, requests))
			s.wantEjected(t)
		})
	}
}

func TestAPlainServerThatIsNotHealthyLeavesSuperctlServing(t *testing.T) {
	s := newApp(t, "gunicorn --workers 2 shop.wsgi")
	requests := s.load(t)
	// A drop-in of the operator's makes the plain server one that never answers.
	dropIn := "/etc/systemd/system/shop.service.d"
	s.Run("sh", "-c", "mkdir "+dropIn+` && printf '[Service]\nType=exec\nExecStart=\nExecStart=/bin/sleep 1h\n' >`+
		dropIn+"/broken.conf").Want(0)
	s.Edit(t, `start_timeout = "1m"`, `start_timeout = "3s"`)
	s.Superctl("eject", "--apply").Want(1).Says("superctl serves shop as before")
	if g := s.generation(t); g != 1 {
		t.Errorf("generation %d answers", g)
	}
	if state := s.unit("shop", "ActiveState"); state != "inactive" {
		t.Errorf("the plain unit is %s", state)
	}
	s.Edit(t, `start_timeout = "3s"`, `start_timeout = "1m"`)
	s.Run("rm", "-r", dropIn).Want(0)
	must(t, s.Release("r2", apps.Behaviour{}))
	s.Superctl("switch", "r2").Want(0) // the daemon can bind again
	s.Superctl("eject", "--apply").Want(0)
	t.Logf("%d requests", s.lossless(t, requests))
	s.wantEjected(t)
}
