package takeover

import (
	"testing"

	"superctl/e2e/apps"
)

func TestARunningServerIsReplacedWithoutLoss(t *testing.T) {
	for name, o := range map[string]old{
		"gunicorn sync":    gunicorn(""),
		"gunicorn gthread": gunicorn("--threads 4"),
		"gunicorn asgi":    {"gunicorn --workers 2 --worker-class asgi --bind ADDRESS shop.asgi:application", true},
		"uwsgi":            {"uwsgi --master --need-app --processes 2 --listen 100 --http-socket ADDRESS --module shop.wsgi", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o)
			s.takeover().Want(0).Says("Nothing was changed")
			requests := s.load(t)
			s.takeover("--apply").Want(0).Says("is live on " + s.Address)
			t.Logf("%d requests", s.lossless(t, requests))
			s.wantTakenOver(t)
			s.takeover("--apply").Want(0).Says("nothing to do")
		})
	}
}

func TestAServerWithoutAConfigIsTakenOver(t *testing.T) {
	s := newSite(t, gunicorn(""))
	s.Run("umount", "/etc/superctl").Want(0)
	requests := s.load(t)
	s.takeover("--health", "/healthz/").Want(0).Says("+++ /etc/superctl/shop.toml")
	s.takeover("--health", "/healthz/", "--apply").Want(0).Says("is live on " + s.Address)
	s.lossless(t, requests)
	s.wantTakenOver(t)
	s.Superctl("check").Want(0)
	s.Superctl("switch", "r1").Want(0).Says("nothing to do")
}

func TestABrokenReleaseLeavesTheOldServerAsItWas(t *testing.T) {
	s := newSite(t, gunicorn(""))
	s.release(t, "broken", apps.Behaviour{Fault: apps.Error500})
	requests := s.load(t)
	before := s.unit("shop", "MainPID")
	s.takeover("--apply").Want(1).Says("serves as before")
	if g := s.generation(t); g != 0 {
		t.Errorf("generation %d answers", g)
	}
	if pid := s.unit("shop", "MainPID"); pid != before || s.unit("superctl@shop", "ActiveState") != "inactive" {
		t.Errorf("the old server was %s, is %s; superctl is %s", before, pid, s.unit("superctl@shop", "ActiveState"))
	}
	s.Run("ln", "-sfT", "/srv/shop/releases/r1", "/srv/shop/current").Want(0)
	s.takeover("--apply").Want(0)
	s.lossless(t, requests)
	s.wantTakenOver(t)
}

// points are where a takeover can be interrupted, in order.
func points() []string {
	return []string{
		"before share", "after share", "before start", "after start", "before switch", "at resolve", "at boot", "at prove",
		"at cutover", "before stop", "after stop", "before enable", "after enable", "before finish", "after finish",
	}
}

func TestATakeoverThatIsKilledAtAnyStepContinues(t *testing.T) {
	s := newSite(t, gunicorn(""))
	requests := s.load(t)
	for _, at := range points() {
		s.takeoverWith(at).Want(128 + 9)
		if s.generation(t) < 0 {
			t.Fatalf("killed %s, nothing serves", at)
		}
	}
	s.takeover("--apply").Want(0)
	t.Logf("%d requests", s.lossless(t, requests))
	s.wantTakenOver(t)
}

func TestADaemonThatIsKilledDuringATakeoverLosesNothing(t *testing.T) {
	s := newSite(t, gunicorn(""))
	requests := s.load(t)
	s.takeoverWith("daemon after start,daemon at boot,daemon at prove,daemon at cutover,daemon before stop,daemon after stop").Want(0)
	t.Logf("%d requests", s.lossless(t, requests))
	s.wantTakenOver(t)
}
