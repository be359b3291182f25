package takeover

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/systemd"
)

// unshared is a server whose address cannot be shared, behind nginx.
type unshared struct {
	old
	scheme string // that nginx uses
	unit   string // more directives of its unit
	why    string
}

// unsharedKinds are the servers that are replaced on another port.
func unsharedKinds() map[string]unshared {
	const wsgi = " --processes 2 --need-app --module APP.wsgi --disable-logging " +
		"--add-header 'Connection: close'"
	return map[string]unshared{
		"TLS": {old: gunicorn(withTLS), scheme: "https", why: "speaks TLS itself"},
		"PrivateNetwork": {
			old: gunicorn("").on(onUnix), scheme: "http", unit: "PrivateNetwork=yes", why: "in a network of its own",
		},
		"reuse-port":       {old: gunicorn("--reuse-port"), scheme: "http", why: "has a listener for each worker"},
		"uwsgi http":       {old: old{command: "uwsgi --http ADDRESS --master" + wsgi}, scheme: "http", why: "uWSGI's router"},
		"uwsgi no master":  {old: old{command: "uwsgi --http-socket ADDRESS" + wsgi}, scheme: "http", why: "without a master process"},
		"uvicorn with TLS": {old: old{command: "uvicorn --host HOST --port PORT --ssl-certfile /etc/ssl/shop.pem --ssl-keyfile /etc/ssl/shop.key APP.asgi:application"}, scheme: "https", why: "speaks TLS itself"},
		"hypercorn":        {old: old{command: "hypercorn --bind ADDRESS APP.asgi:application"}, scheme: "http", why: "is not gunicorn, uWSGI or uvicorn"},
	}
}

const siteFile = "/etc/nginx/sites-available/shop"

// newUnshared boots a machine on which nginx passes requests on to the server. superctl has no config
// of the app.
func newUnshared(t *testing.T, u unshared) *site {
	t.Helper()
	first := gunicorn("").on(u.listen)
	first.django = u.django
	s := newSite(t, first)
	s.Run("umount", "/etc/superctl").Want(0)
	s.makeCertificate()
	s.Run("systemctl", "stop", "shop").Want(0)
	s.Run("rm", "-f", "/etc/nginx/conf.d/shop.conf").Want(0)
	s.Address, s.next = systemd.FreeAddress(t), systemd.FreeAddress(t)
	s.write(siteFile, `# the old server is `+s.config+`
upstream shop { server `+s.config+` max_fails=0; keepalive 4; keepalive_timeout 1s; }
server {
    listen `+s.Address+`;
    location / {
        proxy_pass `+u.scheme+`://shop;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_next_upstream off;
    }
}
`)
	s.Run("ln", "-sf", siteFile, "/etc/nginx/sites-enabled/shop").Want(0)
	s.Run("rm", "-f", "/etc/nginx/sites-enabled/default").Want(0) // port 80, of this machine too
	s.Run("mkdir", "-p", "/var/lib/nginx", "/var/log/nginx").Want(0)
	s.write("/etc/systemd/system/shop.service.d/more.conf", "[Service]\n"+u.unit+"\n")
	s.Run("systemctl", "restart", "nginx").Want(0)
	u.listen = onIPv4 // nginx runs
	s.startOld(t, u.old)
	return s
}

// move runs superctl takeover for an app without a config.
func (s *site) move(args ...string) systemd.Result {
	return s.takeover(append([]string{"--health", "/healthz/", "--address", s.next}, args...)...)
}

func (s *site) moveWith(faults string) systemd.Result {
	return s.Run("env", "SUPERCTL_TAKEOVER_FAULT="+faults, faultyPath, "takeover", s.target, "--health", "/healthz/", "--address",
		s.next, "--apply")
}

func (s *site) nginxFile() string { return s.Run("cat", siteFile).Want(0).Stdout }

func TestAServerThatCannotShareItsPortIsReplacedOnAnotherWithoutLoss(t *testing.T) {
	_, all := times()
	for name, u := range unsharedKinds() {
		if !all && name != "PrivateNetwork" { // that with TLS is killed meanwhile, see below
			continue
		}
		t.Run(name, func(t *testing.T) {
			u.django = true
			s := newUnshared(t, u)
			before := s.nginxFile()
			s.move().Want(0).Says(u.why).Says("+upstream shop { server " + s.next).Says("systemctl reload nginx").
				Says("Nothing was changed")
			if s.nginxFile() != before {
				t.Error("the plan has changed nginx's file")
			}
			loads := s.loadOfNewConnections(t)
			s.move("--apply").Want(0).Says("is live on " + s.next)
			t.Logf("%d requests", s.lossless(t, loads))
			s.wantTakenOver(t)
			if kept := s.Run("cat", "/var/lib/superctl-takeover/shop"+siteFile).Want(0).Stdout; kept != before {
				t.Errorf("kept is %s, want %s", kept, before)
			}
			if link := s.Run("readlink", "/etc/nginx/sites-enabled/shop").Stdout; strings.TrimSpace(link) != siteFile {
				t.Errorf("the link is %s now", link)
			}
			s.move("--apply").Want(0).Says("nothing to do")
		})
	}
}

// movePoints are where takeovers on another port can be interrupted, in order. When the old server has
// ended, the next run has no step on two ports any more, so each later point needs a takeover of its own.
func movePoints() (takeovers [][]string) {
	if _, all := times(); !all {
		return [][]string{{"after start", "at write", "at reload"}}
	}
	return [][]string{
		{
			"before start", "after start", "before switch", "at boot", "at prove", "at cutover", "before enable",
			"after enable", "before move", "at write", "at reload", "after move", "before stop", "after stop",
		},
		{"before finish"},
		{"after finish"},
	}
}

func TestATakeoverOnAnotherPortThatIsKilledContinues(t *testing.T) {
	for _, points := range movePoints() {
		t.Run(points[len(points)-1], func(t *testing.T) {
			s := newUnshared(t, unsharedKinds()["TLS"])
			loads := s.loadOfNewConnections(t)
			s.diesAt(t, points, s.moveWith)
			s.move("--apply").Want(0)
			t.Logf("killed %d times, %d requests", len(points), s.lossless(t, loads))
			s.wantTakenOver(t)
		})
	}
}

func TestWhatFailsOnAnotherPortLeavesTheOldServerAndNginxAsTheyWere(t *testing.T) {
	kind := unsharedKinds()["TLS"]
	kind.django = true // which can answer 500
	s := newUnshared(t, kind)
	loads := s.loadOfNewConnections(t)
	server, before := s.unit("shop", "MainPID"), s.nginxFile()
	same := func(when string) {
		t.Helper()
		got := fmt.Sprint(s.generation(t), " ", s.unit("shop", "MainPID"), " ", s.unit("shop", "UnitFileState"), " ",
			s.unit("superctl@shop", "ActiveState"), " ", s.unit("superctl@shop", "UnitFileState"))
		if want := "0 " + server + " enabled inactive disabled"; got != want || s.nginxFile() != before {
			t.Errorf("%s: %s, want %s\n%s", when, got, want, s.nginxFile())
		}
	}
	s.release(t, "broken", apps.Behaviour{Fault: apps.Error500})
	s.move("--apply").Want(1).Says("serves as before")
	same("a broken release")
	s.Run("ln", "-sfT", "/srv/shop/releases/r1", "/srv/shop/current").Want(0)

	// nginx -t does not notice that nginx could not be reloaded
	dropIn := "/etc/systemd/system/nginx.service.d/broken.conf"
	s.write(dropIn, "[Service]\nExecReload=\nExecReload=/bin/false\n")
	s.Run("systemctl", "daemon-reload").Want(0)
	s.move("--apply").Want(1).Says("serves as before")
	same("nginx is not reloaded")
	s.Run("rm", dropIn).Want(0)
	s.Run("systemctl", "daemon-reload").Want(0)

	// killed when nginx's file is written, and then nginx's configuration breaks
	s.moveWith("at write").Want(128 + 9)
	s.write("/etc/nginx/conf.d/other.conf", "nonsense;\n")
	s.move("--apply").Want(1).Says("nonsense")
	s.Run("rm", "/etc/nginx/conf.d/other.conf").Want(0)
	s.move("--apply").Want(0)
	t.Logf("%d requests", s.lossless(t, loads))
	s.wantTakenOver(t)
}

func TestAnNginxThatSuperctlCannotMoveIsLeftAsItIs(t *testing.T) {
	s := newUnshared(t, unsharedKinds()["TLS"])
	before := s.nginxFile()
	for says, text := range map[string]string{
		"does not name 127.":            strings.ReplaceAll(before, s.config, "192.0.2.1:80"),
		":3: set has the address":       strings.Replace(before, "server {\n", "server { set $old "+s.config+";\n", 1),
		"can be changed by other users": before,
		"--address 127.0.0.1:":          "",
	} {
		s.write(siteFile, text)
		if text == before {
			s.Run("chown", "shop", siteFile).Want(0)
		}
		s.move("--apply").Want(1).Says("speaks TLS itself").Says(says).Says("superctl init --from shop.service")
		s.Run("chown", "root", siteFile).Want(0)
		if s.nginxFile() != text || s.unit("superctl@shop", "ActiveState") != "inactive" {
			t.Errorf("%s: nginx's file is %s", says, s.nginxFile())
		}
	}
	s.write(siteFile, before)
	var plan struct {
		Changed, Done bool
		Nginx         struct {
			Address, Reload string
			Files           []struct{ Path, Diff string }
		}
	}
	must(t, json.Unmarshal([]byte(s.takeover("--health", "/healthz/", "--json").Want(0).Stdout), &plan))
	n := plan.Nginx
	if plan.Changed || plan.Done || !strings.HasPrefix(n.Address, "127.0.0.1:8") || len(n.Files) != 1 || n.Files[0].Path != siteFile ||
		!strings.Contains(n.Files[0].Diff, "+        proxy_pass http://shop;") {
		t.Errorf("the plan is %+v", plan)
	}
}
