// Package takeover tests superctl takeover: real servers under a real systemd are replaced under
// load, and no request is lost.
package takeover

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/e2e/systemd"
	"superctl/load"
)

var run *harness.Run

func TestMain(m *testing.M) {
	harness.Guardian()
	if systemd.Unavailable() != "" {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	os.Exit(harness.Main(m, func(r *harness.Run) { run = r }))
}

const patience = time.Minute // only a defect takes so long

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// oldUnit is a unit as people write it, by the documents of gunicorn.
const oldUnit = `[Unit]
Description=the shop

[Service]
Type=TYPE
User=shop
WorkingDirectory=/srv/shop/current
RuntimeDirectory=shopsock
Environment=FROM_OLD_UNIT=1
ExecStart=/srv/shop/current/venv/bin/COMMAND
KillMode=mixed
Restart=always
TimeoutStopSec=30

[Install]
WantedBy=multi-user.target
`

// old is the server before a takeover.
type old struct {
	command string // ADDRESS stands for where it listens
	notify  bool   // it reports READY=1
}

func gunicorn(options string) old {
	return old{"gunicorn --workers 2 --backlog 2048 --graceful-timeout 15 " + options + " --bind ADDRESS shop.wsgi", true}
}

// site is a machine on which a server of another kind serves release r1 of the shop.
type site struct{ *systemd.Site }

// newSite boots a machine on which the old server serves.
func newSite(t *testing.T, o old) *site {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	faulty, err := faultyBinary()
	must(t, err)
	s := &site{systemd.NewSite(t, run, systemd.Options{Units: []systemd.Bind{{From: faulty, To: faultyPath}}}, "r1")}
	s.Run("chown", "-R", "shop:", "/srv/shop/releases").Want(0)
	s.Run("ln", "-s", "/srv/shop/releases/r1", "/srv/shop/current").Want(0)
	s.startOld(t, o)
	return s
}

// startOld installs and starts the unit of the old server.
func (s *site) startOld(t *testing.T, o old) {
	t.Helper()
	kind := "simple"
	if o.notify {
		kind = "notify"
	}
	text := strings.NewReplacer("TYPE", kind, "COMMAND", strings.ReplaceAll(o.command, "ADDRESS", s.Address)).Replace(oldUnit)
	s.Run("sh", "-c", "cat >/etc/systemd/system/shop.service <<'END'\n"+text+"END").Want(0)
	s.Run("systemctl", "daemon-reload").Want(0)
	s.Run("systemctl", "enable", "--now", "shop").Want(0)
	systemd.Eventually(t, "the old server answers", func() bool { return s.generation(t) == 0 })
}

// generation returns the generation of superctl that answers a request; 0 is the old server, and -1
// none.
func (s *site) generation(t *testing.T) int {
	t.Helper()
	r, err := load.Start(s.loadConfig(load.Config{Clients: 1, MaxRequests: 1, Shapes: []load.Shape{load.Get("/")}}))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, r.WaitMore(ctx, 1))
	rec := r.Stop().Records[0]
	if rec.Err != "" {
		return -1
	}
	return rec.Generation
}

func (s *site) loadConfig(c load.Config) load.Config {
	c.Network, c.Address, c.Timeout = "tcp", s.Address, patience
	return c
}

// load starts two loads: one with a new connection for each request, and one that keeps them.
func (s *site) load(t *testing.T) (loads []*load.Run) {
	t.Helper()
	for _, keep := range []bool{false, true} {
		r, err := load.Start(s.loadConfig(load.Config{
			Rate: 30, Clients: 6, KeepAlive: keep,
			Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
		}))
		must(t, err)
		t.Cleanup(func() { r.Stop() })
		loads = append(loads, r)
	}
	// requests that are being answered when the old server stops
	r, err := load.Start(s.loadConfig(load.Config{Clients: 1, Shapes: []load.Shape{load.Get("/slow?s=1")}}))
	must(t, err)
	t.Cleanup(func() { r.Stop() })
	s.more(t, loads)
	return append(loads, r)
}

// more waits until each load has sent some more requests.
func (s *site) more(t *testing.T, loads []*load.Run) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, r := range loads {
		must(t, r.WaitMore(ctx, 2))
	}
}

// lossless stops the loads, and fails the test if a request was lost. It returns how many there were.
func (s *site) lossless(t *testing.T, loads []*load.Run) (requests int) {
	t.Helper()
	s.more(t, loads)
	for _, r := range loads {
		res := r.Stop()
		if len(res.Failed()) > 0 || res.LimitReached {
			t.Errorf("requests were lost: %s", res)
		}
		requests += len(res.Records)
	}
	return requests
}

// takeover runs superctl takeover.
func (s *site) takeover(args ...string) systemd.Result {
	return s.Run(append([]string{"superctl", "takeover", "shop.service"}, args...)...)
}

// faultyPath is a superctl that dies where it is told to.
const faultyPath = "/usr/local/bin/superctl-with-faults"

// faultyBinary builds it, once.
var faultyBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(run.Dir, "superctl-with-faults")
	return path, run.Build(path, "faults")
})

// takeoverWith runs superctl takeover --apply with faults at these points.
func (s *site) takeoverWith(faults string) systemd.Result {
	return s.Run("env", "SUPERCTL_TAKEOVER_FAULT="+faults, faultyPath, "takeover", "shop.service", "--apply")
}

// unit returns a property of a unit.
func (s *site) unit(name, property string) string {
	return strings.TrimSpace(s.Run("systemctl", "show", "--property", property, "--value", name).Stdout)
}

// release adds a release, and makes it current.
func (s *site) release(t *testing.T, name string, be apps.Behaviour) {
	t.Helper()
	must(t, s.Release(name, be))
	s.Run("ln", "-sfT", "/srv/shop/releases/"+name, "/srv/shop/current").Want(0)
}

// wantTakenOver fails the test unless superctl serves alone, now and after a boot.
func (s *site) wantTakenOver(t *testing.T) {
	t.Helper()
	if g := s.generation(t); g < 1 {
		t.Errorf("generation %d answers", g)
	}
	got := fmt.Sprint(s.unit("shop", "ActiveState"), " ", s.unit("shop", "UnitFileState"), " ",
		s.unit("superctl@shop", "ActiveState"), " ", s.unit("superctl@shop", "UnitFileState"))
	if got != "inactive disabled active enabled" {
		t.Errorf("the units are %s", got)
	}
	if left := s.Run("ls", "/run/superctl-takeover").Stdout; left != "" {
		t.Errorf("left over: %s", left)
	}
}
