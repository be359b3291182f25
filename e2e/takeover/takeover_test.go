package takeover

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

// kinds are the servers that are taken over, and where they listen.
func kinds() map[string]old {
	uwsgi := old{command: "uwsgi --http-socket ADDRESS --master --processes 2 --need-app --module APP.wsgi " +
		"--add-header 'Connection: close' --disable-logging"}
	const asgi = "gunicorn --workers 2 --worker-class asgi --bind ADDRESS APP.asgi:application"
	uvicorn := old{command: "uvicorn --host HOST --port PORT APP.asgi:application"}
	return map[string]old{
		"gunicorn sync":                     gunicorn(""),
		"gunicorn sync by a socket unit":    gunicorn("").on(bySocketUnit),
		"gunicorn sync on a unix socket":    gunicorn("").on(onUnix),
		"gunicorn gthread on both families": gunicorn("--threads 4").on(onBoth),
		"gunicorn gthread on a unix socket": gunicorn("--threads 4").on(onUnix),
		"gunicorn asgi":                     {command: asgi, notify: true},
		"uwsgi":                             uwsgi,
		"uvicorn":                           uvicorn,
		"uvicorn with two workers":          {command: uvicorn.command + " --workers 2 --timeout-worker-healthcheck 300"},
		"uvicorn on a unix socket":          old{command: "uvicorn --uds PATH APP.asgi:application"}.on(onUnix),
	}
}

// times is how often each server is taken over: SUPERCTL_TAKEOVERS, or once. all reports whether
// every kind is; otherwise one of each way to stop is.
func times() (n int, all bool) {
	if n, err := strconv.Atoi(os.Getenv("SUPERCTL_TAKEOVERS")); err == nil {
		return n, true
	}
	return 1, false
}

func TestARunningServerIsReplacedWithoutLoss(t *testing.T) {
	count, all := times()
	for name, o := range kinds() {
		if !all && !slices.Contains([]string{"gunicorn sync", "gunicorn gthread on a unix socket", "uvicorn"}, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			o := o.withDjango()
			s := newSite(t, o)
			s.takeover().Want(0).Says("Nothing was changed")
			requests := 0
			for i := range count {
				if i > 0 {
					s.back(t, o)
				}
				loads := s.load(t)
				s.takeover("--apply").Want(0).Says("is live on " + s.config)
				requests += s.lossless(t, loads)
				s.wantTakenOver(t)
			}
			t.Logf("%d takeovers, %d requests", count, requests)
			s.takeover("--apply").Want(0).Says("nothing to do")
		})
	}
}

func TestAServerWithoutAConfigIsTakenOver(t *testing.T) {
	for name, o := range map[string]old{"on a port": gunicorn(""), "on a unix socket": gunicorn("").on(onUnix)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o.withDjango())
			s.Run("umount", "/etc/superctl").Want(0)
			requests := s.load(t)
			s.takeover("--health", "/healthz/").Want(0).Says("+++ /etc/superctl/shop.toml")
			s.takeover("--health", "/healthz/", "--apply").Want(0).Says("is live on " + s.config)
			s.lossless(t, requests)
			s.wantTakenOver(t)
			s.Superctl("check").Want(0)
			s.Superctl("switch", "r1").Want(0).Says("nothing to do")
		})
	}
}

func TestATakeoverThatIsNotPossibleIsRefused(t *testing.T) {
	s := newSite(t, gunicorn(""))
	s.makeCertificate()
	for says, directives := range map[string]string{
		"in a network of its own": "PrivateNetwork=yes",
		"speaks TLS itself": "ExecStart=\nExecStart=/srv/shop/current/venv/bin/gunicorn --bind " + s.config +
			" " + withTLS + " bare.wsgi",
		"is not gunicorn, uWSGI or uvicorn": "Type=simple\nExecStart=\nExecStart=/usr/bin/python3 -m http.server 0",
	} {
		s.write("/run/systemd/system/shop.service.d/refused.conf", "[Service]\n"+directives+"\n")
		s.Run("systemctl", "daemon-reload").Want(0)
		s.Run("systemctl", "restart", "shop").Want(0)
		harness.Eventually(t, says, func() bool {
			r := s.takeover("--apply")
			return r.Code == 1 && strings.Contains(r.Text(), says)
		})
	}
	if s.unit("superctl@shop", "ActiveState") != "inactive" {
		t.Error("superctl was started")
	}
}

// The way with two ports by hand, as the refused takeover and the plan of init say it.
func TestAServerWithTLSIsReplacedByHandOnAnotherPortWithoutLoss(t *testing.T) {
	if _, all := times(); !all {
		t.Log("with SUPERCTL_TAKEOVERS only")
		return
	}
	s := newSite(t, gunicorn(""))
	s.Run("umount", "/etc/superctl").Want(0)
	s.makeCertificate()
	s.write("/run/systemd/system/shop.service.d/tls.conf", "[Service]\nExecStart=\nExecStart=/srv/shop/current/venv/bin/"+
		"gunicorn --workers 2 --graceful-timeout 15 --bind "+s.config+" "+withTLS+" bare.wsgi\n")
	s.Run("systemctl", "daemon-reload").Want(0)
	s.Run("systemctl", "restart", "shop").Want(0)
	old := s.config
	harness.Eventually(t, "the server is refused", func() bool {
		return strings.Contains(s.takeover().Want(1).Text(), "speaks TLS itself")
	})
	s.takeover().Want(1).Says("nginx does not run").Says("superctl init --from shop.service --address 127.0.0.1:")
	s.Address = systemd.FreeAddress(t)
	s.nginxTo(t, "https", old)
	harness.Eventually(t, "nginx answers", func() bool { return s.generation(t) == 0 })

	loads := s.loadOfNewConnections(t)
	next := systemd.FreeAddress(t)
	s.Run("superctl", "init", "--from", "shop.service", "--address", next, "--health", "/healthz/", "--apply").Want(0).
		Says("systemctl enable --now superctl@shop").Says("superctl --app shop switch latest").
		Says("nginx -s reload").Says("systemctl disable --now shop.service")
	s.Run("systemctl", "enable", "--now", "superctl@shop").Want(0)
	s.Run("superctl", "--app", "shop", "switch", "latest").Want(0)
	s.nginxTo(t, "http", next)
	s.more(t, loads)
	s.Run("systemctl", "disable", "--now", "shop.service").Want(0)
	t.Logf("%d requests", s.lossless(t, loads))
	s.wantTakenOver(t)
}

func TestABrokenReleaseLeavesTheOldServerAsItWas(t *testing.T) {
	s := newSite(t, gunicorn("").withDjango())
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

func TestAReleaseThatFailsItsProbationGivesTheConnectionsBack(t *testing.T) {
	s := newSite(t, gunicorn("").withDjango())
	s.Edit(t, `probation = "0s"`, `probation = "1m"`)
	s.release(t, "dies", apps.Behaviour{Fault: apps.DiesAfterCutover})
	users := s.load(t) // their requests make it die
	s.takeover("--apply").Want(5).Says("dies was reverted").Says("serves as before")
	for _, r := range users {
		r.Stop()
	}
	requests := s.load(t)
	if g := s.generation(t); g != 0 || s.unit("superctl@shop", "ActiveState") != "inactive" {
		t.Errorf("generation %d answers, and superctl is %s", g, s.unit("superctl@shop", "ActiveState"))
	}
	s.Run("ln", "-sfT", "/srv/shop/releases/r1", "/srv/shop/current").Want(0)
	s.Edit(t, `probation = "1m"`, `probation = "0s"`)
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

// killedAt returns where the takeover of a kind is killed: with SUPERCTL_TAKEOVERS at every point, else
// gunicorn's is, and the others where their way to stop differs. It is empty for a kind that is left out.
func killedAt(kind string) []string {
	_, all := times()
	switch {
	case all || kind == "gunicorn sync":
		return points()
	case slices.Contains([]string{"gunicorn sync on a unix socket", "gunicorn asgi", "uwsgi", "uvicorn"}, kind):
		return []string{"after share", "at cutover", "before stop", "after stop"}
	}
	return nil
}

func TestATakeoverThatIsKilledAtAnyStepContinues(t *testing.T) {
	for name, o := range kinds() {
		points := killedAt(name)
		if len(points) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o)
			loads := s.load(t)
			s.diesAt(t, points, s.takeoverWith)
			s.takeover("--apply").Want(0)
			t.Logf("killed %d times, %d requests", len(points), s.lossless(t, loads))
			s.wantTakenOver(t)
		})
	}
}

func TestADaemonThatIsKilledDuringATakeoverLosesNothing(t *testing.T) {
	s := newSite(t, gunicorn(""))
	requests := s.load(t)
	s.takeoverWith("daemon after start,daemon at boot,daemon at prove,daemon at cutover,daemon before stop,daemon after stop").Want(0)
	t.Logf("%d requests", s.lossless(t, requests))
	s.wantTakenOver(t)
}

func TestADaemonNextToTheOldServerWaitsForIt(t *testing.T) {
	s := newSite(t, gunicorn(""))
	s.takeoverWith("before switch").Want(128 + 9)
	s.Superctl("status").Says("waiting for the old server: gunicorn").Says("still serves " + s.config)
	if g := s.generation(t); g != 0 {
		t.Errorf("generation %d answers", g)
	}
	history := s.Superctl("history").Text()
	journal := s.Run("journalctl", "--unit=superctl@shop", "--output=cat").Want(0).Stdout
	if strings.Contains(history, "start") || strings.Contains(journal, "could not be started") {
		t.Errorf("the history is %s\nthe journal is %s", history, journal)
	}
	s.Run("systemctl", "stop", "shop").Want(0)
	harness.Eventually(t, "the daemon starts the release", func() bool { return s.generation(t) > 0 })
	s.takeover("--apply").Want(0)
	s.wantTakenOver(t)
}

func TestAServerWithoutAUnitIsTakenOver(t *testing.T) {
	virtualenv, err := installSupervisor()
	must(t, err)
	for name, start := range map[string]func(*site, *testing.T){
		"of supervisord":  func(s *site, t *testing.T) { s.supervised(t, virtualenv) },
		"started by hand": (*site).byHand,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, gunicorn(""), systemd.Bind{From: virtualenv, To: virtualenv})
			start(s, t)
			requests := s.load(t)
			s.takeover("--name", "shop", "--apply").Want(0).Says("is live on " + s.config)
			t.Logf("%d requests", s.lossless(t, requests))
			s.wantTakenOver(t)
		})
	}
}
