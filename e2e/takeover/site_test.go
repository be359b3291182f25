// Package takeover tests superctl takeover: real servers under a real systemd are replaced under
// load, and no request is lost.
package takeover

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

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
	command string // ADDRESS, HOST and PORT stand for where it listens, and APP for the package of the site
	django  bool   // the site with Django, which takes five times as long to start, and is asked for its settings
	notify  bool   // it reports READY=1
	listen  listen
}

// listen is where the old server listens.
type listen int

const (
	onIPv4 listen = iota
	onBoth        // [::], for IPv6 and IPv4
	onUnix        // in a directory that the unit makes, behind nginx
	bySocketUnit
)

func gunicorn(options string) old {
	return old{command: "gunicorn --workers 2 --graceful-timeout 15 " + options + " --bind ADDRESS APP.wsgi", notify: true}
}

// app returns the package of the site.
func (o old) app() string {
	if o.django {
		return "shop"
	}
	return "bare"
}

func (o old) withDjango() old {
	o.django = true
	return o
}

func (o old) on(l listen) old {
	o.listen = l
	if l == bySocketUnit {
		o.command = strings.ReplaceAll(o.command, " --bind ADDRESS", "")
	}
	return o
}

// site is a machine on which a server of another kind serves release r1 of the shop.
type site struct {
	*systemd.Site
	config string // the address as superctl's config has it
	target string // of superctl takeover
	next   string // the app's own address, if the server's cannot be shared
}

// newSite boots a machine on which the old server serves.
func newSite(t *testing.T, o old, binds ...systemd.Bind) *site {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	faulty, err := faultyBinary()
	must(t, err)
	address := systemd.FreeAddress(t)
	s := &site{config: address, target: "shop.service"}
	_, port, _ := strings.Cut(address, ":")
	switch o.listen {
	case onIPv4, bySocketUnit:
	case onBoth:
		s.config = "[::]:" + port
	case onUnix:
		// its own name: the machines share a network, and so the names of unix sockets
		s.config = "unix:/run/shopsock/" + port + ".sock"
	}
	s.Site = systemd.NewSite(t, run, systemd.Options{
		Address: s.config, Django: o.django, Units: append(binds, systemd.Bind{From: faulty, To: faultyPath}),
	}, "r1")
	s.Address = address
	s.Run("chown", "-R", "shop:", "/srv/shop/releases").Want(0)
	s.Run("ln", "-s", "/srv/shop/releases/r1", "/srv/shop/current").Want(0)
	if !o.django {
		s.Run("rm", "/srv/shop/current/manage.py").Want(0)
	}
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
	i := strings.LastIndexByte(s.config, ':')
	command := strings.NewReplacer("ADDRESS", s.config, "APP", o.app(), "HOST", strings.Trim(s.config[:i], "[]"), "PORT", s.config[i+1:],
		"PATH", strings.TrimPrefix(s.config, "unix:")).Replace(o.command)
	s.write("/etc/systemd/system/shop.service", strings.NewReplacer("TYPE", kind, "COMMAND", command).Replace(oldUnit))
	start := "shop.service"
	switch o.listen {
	case onIPv4, onBoth:
	case bySocketUnit:
		s.write("/etc/systemd/system/shop.socket", "[Socket]\nListenStream="+s.config+"\n[Install]\nWantedBy=sockets.target\n")
		start = "shop.socket"
	case onUnix:
		s.startNginx()
	}
	s.Run("systemctl", "daemon-reload").Want(0)
	s.Run("systemctl", "enable", "--now", start).Want(0)
	harness.Eventually(t, "the old server answers", func() bool { return s.generation(t) == 0 })
}

// back has the old server serve again, without superctl.
func (s *site) back(t *testing.T, o old) {
	t.Helper()
	s.Run("systemctl", "disable", "--now", "superctl@shop").Want(0)
	s.startOld(t, o)
}

// startNginx has nginx pass requests on to the unix socket, over connections that it keeps.
func (s *site) startNginx() {
	s.write("/etc/nginx/conf.d/shop.conf", `upstream shop { server `+s.config+`; keepalive 8; keepalive_timeout 1s; }
server {
    listen `+s.Address+`;
    location / {
        proxy_pass http://shop;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_next_upstream off;
    }
}
`)
	s.Run("rm", "-f", "/etc/nginx/sites-enabled/default").Want(0) // port 80, of this machine too
	s.Run("mkdir", "-p", "/var/lib/nginx", "/var/log/nginx").Want(0)
	s.Run("systemctl", "restart", "nginx").Want(0)
}

// withTLS are gunicorn's options for the certificate that makeCertificate makes.
const withTLS = "--certfile /etc/ssl/shop.pem --keyfile /etc/ssl/shop.key"

func (s *site) makeCertificate() {
	s.Run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=shop", "-keyout",
		"/etc/ssl/shop.key", "-out", "/etc/ssl/shop.pem").Want(0)
	s.Run("chmod", "644", "/etc/ssl/shop.key").Want(0)
}

// nginxTo has nginx pass requests on to an address. When it runs, it is reloaded and loses none.
func (s *site) nginxTo(t *testing.T, scheme, address string) {
	t.Helper()
	s.write("/etc/nginx/conf.d/shop.conf", `server {
    listen `+s.Address+`;
    location / {
        proxy_pass `+scheme+`://`+address+`;
        proxy_set_header Host $http_host;
        proxy_next_upstream off;
    }
}
`)
	s.Run("rm", "-f", "/etc/nginx/sites-enabled/default").Want(0) // port 80, of this machine too
	s.Run("mkdir", "-p", "/var/lib/nginx", "/var/log/nginx").Want(0)
	s.Run("nginx", "-t").Want(0)
	if s.unit("nginx", "ActiveState") != "active" {
		s.Run("systemctl", "restart", "nginx").Want(0)
		return
	}
	workers := strings.Fields(s.Run("sh", "-c", "cat /proc/$(cat /run/nginx.pid)/task/*/children").Want(0).Stdout)
	s.Run("nginx", "-s", "reload").Want(0)
	harness.Eventually(t, "nginx's old workers have ended", func() bool {
		return !slices.ContainsFunc(workers, func(pid string) bool { return s.Run("test", "-e", "/proc/"+pid).Code == 0 })
	})
}

// loadOfNewConnections starts a load that opens a connection for each request: an nginx that is
// reloaded closes the idle ones, and a client may be about to use one.
func (s *site) loadOfNewConnections(t *testing.T) (loads []*load.Run) {
	t.Helper()
	for _, c := range []load.Config{
		{Rate: 30, Clients: 6, Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)}},
		{Clients: 1, Shapes: []load.Shape{load.Get("/slow?s=1")}},
	} {
		r, err := load.Start(s.loadConfig(c))
		must(t, err)
		t.Cleanup(func() { r.Stop() })
		loads = append(loads, r)
	}
	s.more(t, loads)
	return loads
}

func (s *site) write(path, text string) {
	s.Run("sh", "-c", "mkdir -p "+filepath.Dir(path)+" && cat >"+path+" <<'END'\n"+text+"END").Want(0)
}

// generation returns the generation of superctl that answers a request; 0 is the old server, and -1
// none.
func (s *site) generation(t *testing.T) int {
	t.Helper()
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + s.Address + "/")
	if err != nil {
		return -1
	}
	must(t, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		return -1
	}
	number, _ := strconv.Atoi(response.Header.Get("X-Generation")) // the old server sends none
	return number
}

func (s *site) loadConfig(c load.Config) load.Config {
	c.Network, c.Address, c.Timeout = "tcp", s.Address, harness.Patience
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
	ctx, cancel := harness.Limited(t.Context())
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
			t.Errorf("requests were lost: %s\n%s", res, s.Run("tail", "-n", "20", "/var/log/nginx/error.log").Stdout)
		}
		requests += len(res.Records)
	}
	return requests
}

// takeover runs superctl takeover.
func (s *site) takeover(args ...string) systemd.Result {
	return s.Run(append([]string{"superctl", "takeover", s.target}, args...)...)
}

// faultyPath is a superctl that dies where it is told to.
const faultyPath = "/usr/local/bin/superctl-with-faults"

// faultyBinary builds it, once.
var faultyBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(run.Dir, "superctl-with-faults")
	return path, run.Build(path, "faults")
})

// diesAt has the command die at each point in turn, and fails the test if nothing serves after one.
func (s *site) diesAt(t *testing.T, points []string, command func(fault string) systemd.Result) {
	t.Helper()
	for _, at := range points {
		command(at).Want(128 + 9)
		if s.generation(t) < 0 {
			t.Fatalf("killed %s, nothing serves", at)
		}
	}
}

// takeoverWith runs superctl takeover --apply with faults at these points.
func (s *site) takeoverWith(faults string) systemd.Result {
	return s.Run("env", "SUPERCTL_TAKEOVER_FAULT="+faults, faultyPath, "takeover", s.target, "--apply")
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

// supervisorConfig runs the old server under supervisord, as its documents show.
const supervisorConfig = `[supervisord]
nodaemon=true
user=root
[unix_http_server]
file=/run/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix:///run/supervisor.sock
[program:shop]
command=/srv/shop/current/venv/bin/gunicorn --workers 2 --graceful-timeout 15 --bind ADDRESS bare.wsgi
directory=/srv/shop/current
user=shop
autostart=true
autorestart=true
stopwaitsecs=30
stdout_logfile=NONE
stderr_logfile=NONE
`

// installSupervisor returns the directory of supervisord's virtualenv.
func installSupervisor() (string, error) {
	deps := exec.Command(filepath.Join("..", "..", "scripts", "deps"), "--no-apt", "--supervisor")
	deps.Stderr = os.Stderr
	out, err := deps.Output()
	return strings.TrimSpace(string(out)), err
}

// supervised has supervisord run gunicorn instead of the unit.
func (s *site) supervised(t *testing.T, virtualenv string) {
	t.Helper()
	s.Run("systemctl", "disable", "--now", "shop").Want(0)
	s.write("/etc/supervisord.conf", strings.ReplaceAll(supervisorConfig, "ADDRESS", s.config))
	s.write("/etc/systemd/system/supervisor.service", "[Service]\nExecStart="+virtualenv+"/bin/supervisord -c "+
		"/etc/supervisord.conf\n[Install]\nWantedBy=multi-user.target\n")
	s.Run("systemctl", "daemon-reload").Want(0)
	s.Run("systemctl", "start", "supervisor").Want(0)
	harness.Eventually(t, "the old server answers", func() bool { return s.generation(t) == 0 })
	s.target = "shop"
}

// byHand starts gunicorn as a daemon instead of the unit.
func (s *site) byHand(t *testing.T) {
	t.Helper()
	s.Run("systemctl", "disable", "--now", "shop").Want(0)
	s.Run("runuser", "-u", "shop", "--", "env", "-C", "/srv/shop/current", "venv/bin/gunicorn", "--daemon", "--workers=2",
		"--graceful-timeout=15", "--pid=/tmp/shop.pid", "--bind="+s.config, "bare.wsgi").Want(0)
	harness.Eventually(t, "the old server answers", func() bool { return s.generation(t) == 0 })
	s.target = strings.TrimSpace(s.Run("cat", "/tmp/shop.pid").Want(0).Stdout)
}
