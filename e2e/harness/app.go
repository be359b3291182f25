package harness

import (
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

// Options says what differs from an ordinary app. The strings are TOML.
type Options struct {
	Server  Server // default GunicornThreads
	Front   Front
	Kept    int    // connections that nginx keeps open to the app; 0 = a new one for each request
	Address string // of the app's listener; default: a port of the kernel's choice on a loopback address of its own
	Top     string // before the first table
	Web     string // in [process.web]
	Health  string // in [process.web.health]
	Listen  string // in [listen.web]
	Env     string // in [env]
	More    string // after everything
}

// App is one app: its config, its releases, the daemon that runs it, and nginx where it is asked for.
type App struct {
	T       T
	Run     *Run
	Binary  string // of superctl; default: the run's
	Name    string
	Dir     string
	Config  string // path of the config file
	Address string // of the app's listener, as the config has it
	Options Options
	Daemon  *Daemon // the newest one
	nginx   *nginx
	redis   *Redis
}

// settings are the config's defaults in tests: quick, where an operator wants to be careful. A later key of the same name
// in Options takes the place of one here.
const settings = `probation = "0s"
standby = "0s"
settle = "5s"`

const webSettings = `listen = ["web"]
drain = "10s"
start_timeout = "1m"`

const healthSettings = `path = "/healthz/"
interval = "20ms"
timeout = "2s"`

// New makes an app in a directory of its own and writes its config. At the end of the test everything that it started is
// stopped, and the test fails if something is left.
func New(t T, run *Run, opt Options) *App {
	t.Helper()
	n := run.apps.Add(1)
	if opt.Server.Command == "" {
		opt.Server = GunicornThreads()
	}
	a := &App{T: t, Run: run, Binary: run.Binary, Name: fmt.Sprintf("shop%d", n), Dir: filepath.Join(run.Dir, fmt.Sprintf("a%d", n)), Options: opt}
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

// freeAddress is an address whose port nobody takes meanwhile: outgoing connections come from 127.0.0.1, and no other test
// uses the same loopback address.
func (a *App) freeAddress(n int) string {
	a.T.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp4", fmt.Sprintf("127.%d.%d.%d:0", 1+pid%254, 1+pid/254%254, 1+n%254))
	a.must(err)
	defer l.Close() //nolint:errcheck // nothing was written
	return l.Addr().String()
}

// WriteConfig writes the config from the app's options, which a test may have changed.
func (a *App) WriteConfig() {
	a.T.Helper()
	o := a.Options
	var b strings.Builder
	fmt.Fprintf(&b, "app = %q\nreleases = %q\ncurrent = %q\nstate = %q\ncontrol = %q\n", a.Name, a.Path("releases"), a.Path("current"), a.Path("state"), a.Control())
	b.WriteString(merged(settings, o.Top))
	fmt.Fprintf(&b, "\n[listen.web]\naddress = %q\n%s\n", a.Address, o.Listen)
	fmt.Fprintf(&b, "\n[process.web]\ncommand = %q\n%s", o.Server.Command, merged(webSettings, o.Web))
	fmt.Fprintf(&b, "\n[process.web.health]\n%s", merged(healthSettings, o.Health))
	fmt.Fprintf(&b, "\n[env]\n%s = %q\nTMPDIR = %q\nPYTHONUNBUFFERED = \"1\"\n%s\n", mark, a.Dir, a.Path("tmp"), o.Env)
	fmt.Fprintf(&b, "\n%s\n", o.More)
	a.WriteFile("superctl.toml", b.String())
}

// merged is both blocks of TOML, with only the second's lines for keys which both have.
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

// Path is a path in the app's directory.
func (a *App) Path(elem ...string) string { return filepath.Join(append([]string{a.Dir}, elem...)...) }

// Control is the path of the control socket.
func (a *App) Control() string { return a.Path("run", "control.sock") }

// WriteFile writes a file in the app's directory.
func (a *App) WriteFile(name, content string) {
	a.T.Helper()
	a.must(os.WriteFile(a.Path(name), []byte(content), 0o644)) //nolint:gosec // workers of another user read it
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

// Target is where a client of the site connects to: nginx, where there is one.
func (a *App) Target() (network, address string) {
	if a.nginx != nil {
		return "tcp", a.nginx.address
	}
	if path, ok := strings.CutPrefix(a.Address, "unix:"); ok {
		return "unix", path
	}
	return "tcp", a.Address
}

// Via says what Misrouted needs to know of the way.
func (a *App) Via() load.Via {
	if a.nginx != nil {
		return load.Proxy
	}
	return load.Direct
}

// Load starts an ordinary load, new connection per request, GET and POST, unless cfg says otherwise, and waits for its
// first answers.
func (a *App) Load(cfg load.Config) *load.Run {
	a.T.Helper()
	cfg.Network, cfg.Address = a.Target()
	if cfg.Shapes == nil {
		cfg.Shapes = []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)}
	}
	if cfg.Rate == 0 && cfg.Clients == 0 {
		cfg.Rate, cfg.Clients = 150, 16
	}
	r, err := load.Start(cfg)
	a.must(err)
	a.T.Cleanup(func() { r.Stop() })
	a.More(r, 20)
	return r
}

// More waits until n further requests of the load have ended.
func (a *App) More(r *load.Run, n int) {
	a.T.Helper()
	ctx, cancel := limited(time.Minute)
	defer cancel()
	if err := r.WaitMore(ctx, n); err != nil {
		a.Fatalf("%v\n%s", err, r.Stop())
	}
}

// Lossless stops the load and fails the test if a request failed, or if the load was over before the test was.
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

// Fatalf ends the test, after it has shown what the daemon said.
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

// end stops everything and looks for what is left.
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
			_ = os.Chmod(path, 0o755) //nolint:gosec // so that it can be removed
		}
		return nil
	})
	if !a.T.Failed() || os.Getenv("SUPERCTL_E2E_KEEP") == "" {
		_ = os.RemoveAll(a.Dir)
	}
}

// outputs is what all daemons of the app have written, one after the other.
func (a *App) outputs() string {
	logs, _ := filepath.Glob(a.Path("daemon-*.log")) // the pattern is right
	lines := make([]string, 0, len(logs))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		a.must(err)
		lines = slices.AppendSeq(lines, strings.Lines(string(text)))
	}
	slices.Sort(lines) // each begins with its time
	return strings.Join(lines, "")
}

// NothingLeft fails the test when the app has left a process, a socket, a FIFO or a temporary file. Nothing of the app must
// be meant to run any more.
func (a *App) NothingLeft() {
	a.T.Helper()
	// What was killed a moment ago may not be gone yet: a killed process takes its time to give back its memory.
	for _, p := range processes(a.Dir, os.Getpid()) {
		awaitExit(p.PID, 3*time.Second)
	}
	if left := processes(a.Dir, os.Getpid()); len(left) > 0 {
		a.T.Errorf("processes of %s are left over:\n%s", a.Name, describe(left))
		endAll(a.Dir)
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
		case !d.IsDir() && (filepath.Dir(path) == a.Path("tmp") || strings.Contains(d.Name(), "tmp") || strings.HasPrefix(d.Name(), ".")):
			a.T.Errorf("the temporary file %s is left over", path)
		}
		return nil
	})
	a.must(err)
}
