package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/e2e/apps"
	"superctl/load"
)

// Options describes how an app differs from the default one. The strings are TOML.
type Options struct {
	Server  Server // default GunicornThreads with the site without Django
	Front   Front
	Kept    int    // connections that nginx keeps open to the app; 0 = a new one for each request
	Address string // of the app's listener; default: a free port on a loopback address of its own
	Top     string // before the first table
	Web     string // in [process.web]
	Health  string // in [process.web.health]
	Listen  string // in [listen.web]
	Env     string // in [env]
	More    string // after everything
	HTTP    string // in nginx's http block
	Proxy   string // in nginx's location of the app
	Static  string // directory that nginx serves as /static/; "" = none
}

// App is one app: its config, its releases, its daemon, and nginx if the options ask for it.
type App struct {
	T       T
	Run     *Run
	Binary  string // of superctl; default: the run's
	Name    string
	Dir     string
	Config  string // path of the config file
	Address string // of the app's listener, as in the config
	Options Options
	Daemon  *Daemon // the newest one
	nginx   *nginx
	redis   *Redis
}

// settings are the config's defaults in tests: faster than an operator would choose. A key in
// Options replaces the same key here.
const settings = `probation = "0s"
standby = "0s"
settle = "5s"`

const webSettings = `listen = ["web"]
drain = "10s"
start_timeout = "1m"`

const healthSettings = `path = "/healthz/"
interval = "20ms"
timeout = "2s"`

// New makes an app in its own directory and writes its config. At the end of the test it stops
// everything that it started, and fails the test if anything is left.
func New(t T, run *Run, opt Options) *App {
	t.Helper()
	n := run.apps.Add(1)
	if opt.Server.Command == "" {
		opt.Server = GunicornThreads().Bare()
	}
	a := &App{
		T: t, Run: run, Binary: run.Binary, Name: fmt.Sprintf("shop%d", n),
		Dir: filepath.Join(run.Dir, fmt.Sprintf("a%d", n)), Options: opt,
	}
	a.Config = filepath.Join(a.Dir, "superctl.toml")
	for _, dir := range []string{"", "releases", "run", "state", "tmp"} {
		a.must(os.Mkdir(filepath.Join(a.Dir, dir), 0o755))
	}
	a.must(os.Chmod(filepath.Join(a.Dir, "tmp"), 0o777|os.ModeSticky))
	t.Cleanup(a.end)

	a.Address = opt.Address
	switch {
	case a.Address != "":
	case opt.Front.unix():
		a.Address = "unix:" + filepath.Join(a.Dir, "run", "web.sock")
	default:
		a.Address = a.freeAddress(int(n))
	}
	a.WriteConfig()
	if opt.Front.proxied() {
		a.startNginx()
	}
	return a
}

// freeAddress returns an address whose port stays free until the app binds it: outgoing connections
// come from 127.0.0.1, and no other test uses the same loopback address.
func (a *App) freeAddress(n int) string {
	a.T.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp4", fmt.Sprintf("127.%d.%d.%d:0", 1+pid%254, 1+pid/254%254, 1+n%254))
	a.must(err)
	defer l.Close()
	return l.Addr().String()
}

// WriteConfig writes the config from the app's options, which a test may have changed.
func (a *App) WriteConfig() {
	a.T.Helper()
	o := a.Options
	var b strings.Builder
	fmt.Fprintf(&b, "app = %q\nreleases = %q\ncurrent = %q\nstate = %q\ncontrol = %q\n", a.Name, a.Path("releases"),
		a.Path("current"), a.Path("state"), a.Control())
	b.WriteString(merged(settings, o.Top))
	fmt.Fprintf(&b, "\n[listen.web]\naddress = %q\n%s\n", a.Address, o.Listen)
	fmt.Fprintf(&b, "\n[process.web]\ncommand = %q\n%s", o.Server.Command, merged(webSettings, o.Web))
	fmt.Fprintf(&b, "\n[process.web.health]\n%s", merged(healthSettings, o.Health))
	fmt.Fprintf(&b, "\n[env]\n%s = %q\nTMPDIR = %q\nPYTHONUNBUFFERED = \"1\"\n%s\n", mark, a.Dir, a.Path("tmp"), o.Env)
	fmt.Fprintf(&b, "\n%s\n", o.More)
	a.WriteFile("superctl.toml", b.String())
}

// merged joins two blocks of TOML. For a key in both, it keeps the second block's line only.
func merged(defaults, own string) string {
	key := func(line string) string { k, _, _ := strings.Cut(line, "="); return strings.TrimSpace(k) }
	has := make(map[string]bool)
	for line := range strings.Lines(own) {
		has[key(line)] = true
	}
	var b strings.Builder
	for line := range strings.Lines(defaults) {
		if !has[key(line)] {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	b.WriteString(own + "\n")
	return b.String()
}

// Path returns a path in the app's directory.
func (a *App) Path(elem ...string) string { return filepath.Join(append([]string{a.Dir}, elem...)...) }

// Control returns the path of the control socket.
func (a *App) Control() string { return a.Path("run", "control.sock") }

// WriteFile writes a file in the app's directory.
func (a *App) WriteFile(name, content string) {
	a.T.Helper()
	a.must(os.WriteFile(a.Path(name), []byte(content), 0o644)) // workers of another user read it
}

// Release makes a release.
func (a *App) Release(name string, be apps.Behaviour) {
	a.T.Helper()
	a.must(a.Run.Apps.Release(a.Path("releases", name), be))
}

// Releases makes several good releases.
func (a *App) Releases(names ...string) {
	a.T.Helper()
	for _, name := range names {
		a.Release(name, apps.Behaviour{})
	}
}

// Target returns the address that clients of the site connect to: nginx's, if there is one.
func (a *App) Target() (network, address string) {
	if a.nginx != nil {
		return "tcp", a.nginx.address
	}
	if path, ok := strings.CutPrefix(a.Address, "unix:"); ok {
		return "unix", path
	}
	return "tcp", a.Address
}

// Via tells Misrouted whether a proxy is in between.
func (a *App) Via() load.Via {
	if a.nginx != nil {
		return load.Proxy
	}
	return load.Direct
}

// Load starts a load and waits for its first answers. Unless cfg differs, each request has a new
// connection, and GET and POST alternate.
func (a *App) Load(cfg load.Config) *load.Run {
	a.T.Helper()
	cfg.Network, cfg.Address = a.Target()
	if cfg.Shapes == nil {
		cfg.Shapes = []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)}
	}
	if cfg.Rate == 0 && cfg.Clients == 0 {
		cfg.Rate, cfg.Clients = 50, 16 // a request costs the client and Python 2 ms, and many tests run at once
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute // on a busy machine some answers take longer than 10 s, load's default
	}
	r, err := load.Start(cfg)
	a.must(err)
	a.T.Cleanup(func() { r.Stop() })
	a.More(r, 20)
	return r
}

// More waits until n more requests of the load have ended.
func (a *App) More(r *load.Run, n int) {
	a.T.Helper()
	ctx, cancel := Limited(context.Background())
	defer cancel()
	if err := r.WaitMore(ctx, n); err != nil {
		a.Fatalf("%v\n%s", err, r.Stop())
	}
}

// Lossless stops the load. It fails the test if a request failed, or if the load ended before the
// test did.
func (a *App) Lossless(r *load.Run) *load.Result {
	a.T.Helper()
	res := r.Stop()
	if len(res.Failed()) > 0 || res.LimitReached || len(res.Records) == 0 {
		a.T.Errorf("requests were lost: %s", res)
	} else {
		a.T.Logf("%s", res)
	}
	return res
}

// Fatalf ends the test. The daemon's output is shown at the end.
func (a *App) Fatalf(format string, args ...any) {
	a.T.Helper()
	a.T.Fatalf(format, args...)
}

func (a *App) must(err error) {
	a.T.Helper()
	if err != nil {
		a.Fatalf("%v", err)
	}
}

// end stops everything and checks that nothing is left.
func (a *App) end() {
	a.T.Helper()
	if a.Daemon != nil {
		a.Daemon.stopQuietly()
	}
	if a.nginx != nil {
		a.nginx.stop()
	}
	if a.redis != nil {
		a.redis.stop()
	}
	if a.T.Failed() && a.Daemon != nil {
		a.T.Logf("the daemons of %s said:\n%s", a.Name, a.outputs())
	}
	a.NothingLeft()
	_ = filepath.WalkDir(a.Path("releases"), func(path string, d fs.DirEntry, err error) error {
		if err != nil && d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o755) // so that it can be removed
		}
		return nil
	})
	if !a.T.Failed() || os.Getenv("SUPERCTL_E2E_KEEP") == "" {
		_ = os.RemoveAll(a.Dir)
	}
}

// outputs returns the output of all daemons of the app, in the order of time.
func (a *App) outputs() string {
	logs, _ := filepath.Glob(a.Path("daemon-*.log")) // the pattern is valid
	lines := make([]string, 0, len(logs))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		a.must(err)
		lines = slices.AppendSeq(lines, strings.Lines(string(text)))
	}
	slices.Sort(lines) // each line begins with its time
	return strings.Join(lines, "")
}

// NothingLeft fails the test if the app has left a process, a socket, a FIFO, a temporary file or
// values in memory. The files of the drain hook may be left by a daemon that was killed. Call it when nothing of the app should run.
func (a *App) NothingLeft() {
	a.T.Helper()
	// A process that was just killed may still exist: releasing its memory takes time.
	for _, p := range processes(a.Dir, os.Getpid()) {
		awaitExit(p.PID, 3*time.Second)
	}
	if left := processes(a.Dir, os.Getpid()); len(left) > 0 {
		a.T.Errorf("processes of %s are left over:\n%s", a.Name, describe(left))
		endAll(a.Dir)
	}
	for _, dir := range a.inMemory() {
		a.T.Errorf("%s is left over", dir)
		_ = os.RemoveAll(dir)
	}
	err := filepath.WalkDir(a.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return fs.SkipDir
		case err != nil:
			return err
		case path == a.Path("releases"):
			return fs.SkipDir
		case d.Type()&(fs.ModeSocket|fs.ModeNamedPipe) != 0:
			a.T.Errorf("%s is left over (%s)", path, d.Type())
		case !d.IsDir() && (filepath.Dir(path) == a.Path("tmp") ||
			strings.Contains(d.Name(), "tmp") || strings.HasPrefix(d.Name(), ".") && d.Name() != ".counts" && d.Name() != ".superctl"):
			a.T.Errorf("the temporary file %s is left over", path)
		}
		return nil
	})
	a.must(err)
}
