package takeover

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

// app is what superctl runs before an eject.
type app struct {
	command string
	listen  listen // onIPv4, or onUnix behind nginx
	more    string // of the config
}

// newApp boots a machine on which superctl serves release r1 of the shop.
func newApp(t *testing.T, a app) *site {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	faulty, err := faultyBinary()
	must(t, err)
	address := systemd.FreeAddress(t)
	s := &site{config: address}
	if a.listen == onUnix {
		_, port, _ := strings.Cut(address, ":")
		s.config = "unix:/run/shopsock/" + port + ".sock"
	}
	s.Site = systemd.NewSite(t, run, systemd.Options{
		Address: s.config, Units: []systemd.Bind{{From: faulty, To: faultyPath}},
	}, "r1")
	s.Address = address
	s.Edit(t, "gunicorn --workers 2 bare.wsgi", a.command)
	if a.more != "" {
		s.Edit(t, "[process.web]\n", a.more+"\n[process.web]\n")
	}
	s.Run("chown", "-R", "shop:", "/srv/shop/releases").Want(0)
	if a.listen == onUnix {
		s.write("/etc/systemd/system/superctl@shop.service.d/socket.conf", "[Service]\nRuntimeDirectory=shopsock\n")
		s.Run("systemctl", "daemon-reload").Want(0)
		s.startNginx()
	}
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
	if path, is := strings.CutPrefix(s.config, "unix:"); is {
		if got := s.unit("shop.socket", "Listen"); got != path+" (Stream)" {
			t.Errorf("shop.socket listens on %s", got)
		}
		if left := s.Run("sh", "-c", "ls /run/systemd/system/*.d/superctl-eject.conf "+path+".g0").Stdout; left != "" {
			t.Errorf("left over: %s", left)
		}
	}
}

// ejects are the servers that an app is ejected to.
func ejects() map[string]app {
	const asgi = "shop.asgi:application"
	return map[string]app{
		"gunicorn gthread":                  {command: "gunicorn --workers 2 --threads 4 shop.wsgi"},
		"gunicorn gthread on a unix socket": {command: "gunicorn --workers 2 --threads 4 shop.wsgi", listen: onUnix},
		"gunicorn sync on a unix socket":    {command: "gunicorn --workers 2 shop.wsgi", listen: onUnix},
		"gunicorn asgi":                     {command: "gunicorn --workers 2 --worker-class asgi " + asgi},
		"gunicorn asgi on a unix socket":    {command: "gunicorn --workers 2 --worker-class asgi " + asgi, listen: onUnix},
		"uvicorn":                           {command: "uvicorn " + asgi},
		"uvicorn on a unix socket":          {command: "uvicorn " + asgi, listen: onUnix},
		"hypercorn":                         {command: "hypercorn " + asgi},
		"uwsgi":                             {command: "uwsgi --processes 2 --module shop.wsgi --disable-logging"},
		"uwsgi on a unix socket":            {command: "uwsgi --processes 2 --module shop.wsgi --disable-logging", listen: onUnix},
	}
}

func TestAnAppIsReplacedByPlainUnitsWithoutLoss(t *testing.T) {
	count, all := times()
	for name, a := range ejects() {
		if !all && name != "gunicorn gthread" && name != "uvicorn on a unix socket" && name != "uwsgi" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newApp(t, a)
			requests := 0
			for i := range count {
				if i > 0 {
					s.Run("systemctl", "disable", "--now", "shop.socket", "shop.service").Want(0)
					s.Run("systemctl", "enable", "superctl@shop").Want(0)
					s.Run("systemctl", "start", "superctl@shop").Want(0)
					harness.Eventually(t, "superctl serves", func() bool { return s.generation(t) > 0 })
				}
				loads := s.load(t)
				s.Superctl("eject", "--apply").Want(0).Says("shop.service serves on " + s.config)
				requests += s.lossless(t, loads)
				s.wantEjected(t)
			}
			t.Logf("%d ejects, %d requests", count, requests)
			s.Superctl("eject", "--apply").Want(0).Says("nothing to do")
		})
	}
}

func TestAPlainServerThatIsNotHealthyLeavesSuperctlServing(t *testing.T) {
	s := newApp(t, app{command: "gunicorn --workers 2 bare.wsgi"})
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

// ejectPoints are where an eject can be interrupted, in order, and whether every one is tried by
// default.
func ejectPoints() []string {
	if _, all := times(); !all {
		return []string{"after start .service", "after turn", "after stop", "after disable"}
	}
	return []string{
		"before start", "after start .socket", "after start .service", "after prove", "before turn", "after turn", "before stop",
		"after stop", "after settle", "after others", "after disable",
	}
}

// ejectWith runs superctl eject --apply with a fault.
func (s *site) ejectWith(fault string) systemd.Result {
	return s.Run("env", "SUPERCTL_EJECT_FAULT="+fault, faultyPath, "--app", "shop", "eject", "--apply")
}

func TestAnEjectThatIsKilledAtAnyStepContinues(t *testing.T) {
	for name, listen := range map[string]listen{"on a port": onIPv4, "on a unix socket": onUnix} {
		t.Run(name, func(t *testing.T) {
			s := newApp(t, app{command: "gunicorn --workers 2 --threads 4 bare.wsgi", listen: listen})
			requests := s.load(t)
			s.diesAt(t, ejectPoints(), s.ejectWith)
			s.Superctl("eject", "--apply").Want(0)
			t.Logf("%d requests", s.lossless(t, requests))
			s.wantEjected(t)
		})
	}
}

func TestAnInterruptedEjectGoesBackOrEnds(t *testing.T) {
	s := newApp(t, app{command: "gunicorn --workers 2 --threads 4 bare.wsgi", listen: onUnix})
	requests := s.load(t)
	s.ejectWith("TERM before start").Want(1).Says("superctl serves shop as before")
	if g := s.generation(t); g != 1 {
		t.Errorf("generation %d answers", g)
	}
	must(t, s.Release("r2", apps.Behaviour{}))
	s.Superctl("switch", "r2").Want(0)
	s.ejectWith("HUP after turn").Want(0) // the connection to the terminal was cut
	t.Logf("%d requests", s.lossless(t, requests))
	s.wantEjected(t)
}

func TestAnEjectThatIsKilledAndLeftAloneEndsWithOneServing(t *testing.T) {
	if _, all := times(); !all {
		t.Log("the daemon's watchdog takes 15 s: with SUPERCTL_TAKEOVERS only")
		return
	}
	for name, listen := range map[string]listen{"on a port": onIPv4, "on a unix socket": onUnix} {
		t.Run(name, func(t *testing.T) { leaveAlone(t, listen) })
	}
}

func leaveAlone(t *testing.T, listen listen) {
	s := newApp(t, app{command: "gunicorn --workers 2 --threads 4 bare.wsgi", listen: listen})
	requests := s.load(t)
	s.ejectWith("after turn").Want(128 + 9)
	harness.Eventually(t, "superctl serves again", func() bool { return s.generation(t) == 1 })
	s.Superctl("eject", "--undo").Want(0).Says("superctl serves on")
	if state := s.unit("shop", "ActiveState"); state != "inactive" {
		t.Errorf("the plain unit is %s", state)
	}
	must(t, s.Release("r2", apps.Behaviour{}))
	s.Superctl("switch", "r2").Want(0)
	s.Superctl("eject", "--apply").Want(0)
	t.Logf("%d requests", s.lossless(t, requests))
	s.wantEjected(t)
}

// ejectOutcome is what the tests read of eject --json.
type ejectOutcome struct {
	Units               []string
	Steps               []string
	Changed, Done, Kept bool
	Error               string
}

func (s *site) ejectJSON(t *testing.T, code int, args ...string) (out ejectOutcome) {
	t.Helper()
	r := s.Superctl(append([]string{"eject", "--json"}, args...)...).Want(code)
	must(t, json.Unmarshal([]byte(r.Stdout), &out))
	return out
}

// beats is a background process that writes when it starts and ends, and whether another one runs.
const beats = `[process.beat]
command = "/srv/shop/beat"
strategy = "single"
after = ["worker"]
[process.worker]
command = "sleep 1h"
instances = 2
stop_signal = "INT"
env = { QUEUE = "a b" }
`

const beatScript = `#!/bin/bash
trap 'rmdir /tmp/beat; exit 0' TERM
mkdir /tmp/beat || echo "two at once" >>/tmp/beats
echo "$SUPERCTL_GENERATION" >>/tmp/beats
while :; do sleep 0.05; done
`

func TestABackgroundProcessRunsOnceBeforeAndAfterAnEject(t *testing.T) {
	s := newApp(t, app{command: "gunicorn --workers 2 bare.wsgi"})
	s.write("/srv/shop/beat", beatScript)
	s.Run("chmod", "755", "/srv/shop/beat").Want(0)
	s.Edit(t, "[process.web]\n", beats+"[process.web]\n")
	s.Run("sh", "-c", "cp -r /etc/superctl /tmp/etc && umount /etc/superctl && mkdir -p /etc/superctl && cp /tmp/etc/* /etc/superctl").
		Want(0) // it is read-only
	s.Superctl("reload").Want(0)
	plan := s.ejectJSON(t, 0)
	if want := "[shop.socket shop.service shop-worker@0.service shop-worker@1.service shop-beat.service]"; fmt.Sprint(plan.Units) !=
		want || plan.Changed || plan.Done {
		t.Errorf("the plan is %+v, want units %s", plan, want)
	}
	requests := s.load(t)
	if out := s.ejectJSON(t, 0, "--apply"); !out.Changed || !out.Done {
		t.Errorf("the outcome is %+v", out)
	}
	s.lossless(t, requests)
	s.wantEjected(t)
	for _, unit := range []string{"shop-beat", "shop-worker@0", "shop-worker@1"} {
		if got := s.unit(unit, "ActiveState") + " " + s.unit(unit, "UnitFileState"); got != "active enabled" {
			t.Errorf("%s is %s", unit, got)
		}
	}
	pid := s.unit("shop-worker@0", "MainPID")
	if got := s.Run("sh", "-c", "tr '\\0' '\\n' </proc/"+pid+"/environ").Stdout; !strings.Contains(got, "QUEUE=a b\n") {
		t.Errorf("the worker's variables are %s", got)
	}
	if out := s.ejectJSON(t, 0, "--apply"); out.Changed || !out.Done {
		t.Errorf("another eject: %+v", out)
	}
	if got := s.Run("cat", "/tmp/beats").Stdout; strings.Contains(got, "two at once") || !strings.HasSuffix(got, "\n\n") {
		t.Errorf("the beats were %q", got)
	}
}

// The unit that superctl took the server from is not touched, and the same units serve each time.
func TestAnAppGoesThereAndBackWithoutLoss(t *testing.T) {
	_, all := times()
	for name, o := range map[string]old{
		"on a port":        gunicorn("--threads 4"),
		"on a unix socket": gunicorn("--threads 4").on(onUnix),
	} {
		if !all && o.listen != onUnix {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o)
			files := func() string { return s.Run("sh", "-c", "cat /etc/systemd/system/shop*").Want(0).Stdout }
			own := s.Run("cat", "/etc/systemd/system/shop.service").Want(0).Stdout
			requests := s.load(t)
			s.takeover("--apply").Want(0)
			s.Superctl("eject", "--apply").Want(1).Says("--unit shop-plain")
			s.Superctl("eject", "--unit", "shop-plain", "--apply").Want(0)
			plain := files()
			s.target = "shop-plain.service"
			s.takeover("--name", "shop", "--apply").Want(0)
			if g := s.generation(t); g < 1 {
				t.Errorf("generation %d answers", g)
			}
			s.Superctl("eject", "--unit", "shop-plain", "--apply").Want(0)
			t.Logf("%d requests", s.lossless(t, requests))
			if g := s.generation(t); g != 0 {
				t.Errorf("generation %d answers", g)
			}
			if got := files(); got != plain || !strings.Contains(got, own) {
				t.Errorf("the units are\n%s\nand were\n%s", got, plain)
			}
		})
	}
}
