package systemd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

const unit = "superctl@shop.service"

// Site is the app shop inside a sandbox, installed as in docs/systemd.md: with the packaged unit, a
// user of the app's name, its config in /etc/superctl and its releases in /srv/shop.
type Site struct {
	*Sandbox
	Address string // of its listener, reachable from outside
	dir     string // of this machine; srv and etc are in it
	run     *harness.Run
}

// config is shop.toml without the module of the app and the address. The drain and the interval are short, because tests wait
// for them. start_timeout is long, because only a defect waits for it and a loaded machine boots a
// server slowly.
const config = `app       = "shop"
releases  = "/srv/shop/releases"
current   = "/srv/shop/current"
probation = "0s"

[listen.web]
address = %[1]q

[process.web]
command = "gunicorn --workers 2 %[2]s.wsgi"
listen  = ["web"]
drain   = "10s"
start_timeout = "1m"
[process.web.health]
path     = "/healthz/"
interval = "50ms"
`

// Options are the options of a site.
type Options struct {
	Address string // of the listener; default: a free port
	Units   []Bind // further files below /etc/systemd/system
	Django  bool   // the site with Django, which takes five times as long to start; default: without it
	Alone   bool   // with the controllers of control groups, and not in parallel with other tests
}

// NewSite boots a sandbox with good releases, and starts nothing.
func NewSite(t harness.T, run *harness.Run, opt Options, releases ...string) *Site {
	t.Helper()
	dir, err := os.MkdirTemp(run.Dir, "sd")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	srv, etc := filepath.Join(dir, "srv"), filepath.Join(dir, "etc")
	must(t, os.MkdirAll(filepath.Join(srv, "releases"), 0o755))
	must(t, os.Mkdir(etc, 0o755))
	site := &Site{dir: dir, run: run, Address: FreeAddress(t)}
	if opt.Address == "" {
		opt.Address = site.Address
	}
	module := "bare"
	if opt.Django {
		module = "shop"
	}
	site.Configure(t, fmt.Sprintf(config, opt.Address, module))
	for _, r := range releases {
		must(t, site.Release(r, apps.Behaviour{}))
	}
	packaging := filepath.Join(sources(), "..", "..", "packaging")
	site.Sandbox = Boot(t, dir, Machine{Controllers: opt.Alone, Binds: append([]Bind{
		{From: run.Binary, To: "/usr/bin/superctl"},
		{From: filepath.Join(packaging, "systemd", "superctl@.service"), To: "/etc/systemd/system/superctl@.service"},
		{From: filepath.Join(packaging, "systemd", "sysusers.conf"), To: "/usr/lib/sysusers.d/superctl.conf"},
		{From: filepath.Join(packaging, "systemd", "tmpfiles.conf"), To: "/usr/lib/tmpfiles.d/superctl.conf"},
		{From: packaging, To: "/usr/share/superctl"},
		{From: etc, To: "/etc/superctl"},
		{From: srv, To: "/srv/shop", Writable: true},
		{From: run.Apps.Cache, To: run.Apps.Cache},
		{From: srv, To: srv}, // the virtualenvs name their interpreter by this path
	}, opt.Units...)})
	site.Run("systemd-sysusers").Want(0)
	site.Run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/superctl.conf").Want(0)
	site.Run("useradd", "--system", "--home-dir", "/srv/shop", "shop").Want(0)
	site.Run("chown", "shop:", "/srv/shop").Want(0)
	return site
}

// Configure writes the config.
func (s *Site) Configure(t harness.T, toml string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.dir, "etc", "shop.toml"), []byte(toml), 0o644))
}

// Edit replaces a part of the config.
func (s *Site) Edit(t harness.T, from, to string) {
	t.Helper()
	toml, err := os.ReadFile(filepath.Join(s.dir, "etc", "shop.toml"))
	must(t, err)
	if !strings.Contains(string(toml), from) {
		t.Fatalf("the config has no %q:\n%s", from, toml)
	}
	s.Configure(t, strings.Replace(string(toml), from, to, 1))
}

// Release creates a release.
func (s *Site) Release(name string, be apps.Behaviour) error {
	return s.run.Apps.Release(filepath.Join(s.dir, "srv", "releases", name), be)
}

// Start starts the service and makes a release live.
func (s *Site) Start(t harness.T, release string) {
	t.Helper()
	s.Run("systemctl", "start", unit).Want(0)
	s.Superctl("switch", release).Want(0)
}

// Superctl runs a command of superctl inside, as root.
func (s *Site) Superctl(args ...string) Result {
	return s.Run(append([]string{"superctl", "--app", "shop"}, args...)...)
}

// Status returns the output of `superctl status --json`.
func (s *Site) Status(t harness.T) harness.Status {
	t.Helper()
	var st harness.Status
	r := s.Superctl("status", "--json").Want(0)
	if err := json.Unmarshal([]byte(r.Stdout), &st); err != nil {
		t.Fatalf("status: %v\n%s", err, r.Text())
	}
	return st
}

// Property returns a property of the service.
func (s *Site) Property(name string) string {
	return strings.TrimSpace(s.Run("systemctl", "show", "--property", name, "--value", unit).Stdout)
}

// MainPID returns the pid of the daemon inside the sandbox.
func (s *Site) MainPID(t harness.T) int {
	t.Helper()
	pid, err := strconv.Atoi(s.Property("MainPID"))
	must(t, err)
	return pid
}

// Signal sends a signal to the daemon only.
func (s *Site) Signal(name string) {
	s.Run("systemctl", "kill", "--signal="+name, "--kill-whom=main", unit).Want(0)
}

// Load starts a load from outside: a new connection for each request, GET and POST.
func (s *Site) Load(t harness.T) *load.Run {
	t.Helper()
	return s.loadFor(t, 0)
}

// loadFor is Load with a limit of time; 0 means the load's own limit.
func (s *Site) loadFor(t harness.T, limit time.Duration) *load.Run {
	t.Helper()
	r, err := load.Start(load.Config{
		Network: "tcp", Address: s.Address, Rate: 50, Clients: 8, MaxDuration: limit, Timeout: harness.Patience,
		Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
	})
	must(t, err)
	t.Cleanup(func() { r.Stop() })
	return r
}

// FreeAddress returns a port on a loopback address that other programs hardly use, so that none
// takes the port before the site does.
func FreeAddress(t harness.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", fmt.Sprintf("127.250.%d.%d:0", 1+rand.IntN(254), 1+rand.IntN(254)))
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// sources returns the directory of this file.
func sources() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

func must(t harness.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}
