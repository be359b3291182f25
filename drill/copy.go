package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/supervisor/worker"
)

// copied is a copy of the app in its own directory, with a daemon that the drill starts and stops.
type copied struct {
	*control.Client
	dir    string
	opt    *Options
	own    config.Copy
	to     Target
	output *os.File
	daemon *worker.Worker // the one that was started last; after an upgrade, another daemon runs

	reaping sync.WaitGroup
	stop    context.CancelFunc
}

// brokenName is the name of the broken release.
const brokenName = "broken-on-purpose"

// openCopy makes the copy and starts its daemon. No release is live yet.
func openCopy(ctx context.Context, opt Options) (s *copied, err error) {
	parent := opt.Temporary
	if opt.Credentials != "" && os.Geteuid() == 0 {
		parent = "/run" // in memory: the daemon copies credentials to memory only
	}
	dir, err := os.MkdirTemp(parent, "superctl-drill-")
	if err != nil {
		return nil, err
	}
	reaping, stop := context.WithCancel(context.Background())
	s = &copied{dir: dir, opt: &opt, stop: stop}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	// workers of another user must enter it; secret files in it have mode 0600
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	if s.output, err = s.openLog(); err != nil {
		return nil, err
	}
	if err := s.makeConfig(ctx); err != nil {
		return nil, err
	}
	if err := s.makeReleases(); err != nil {
		return nil, err
	}
	if err := worker.AdoptOrphans(); err != nil {
		return nil, err
	}
	s.reaping.Go(func() { worker.ReapOrphans(reaping) })
	s.Client = control.NewClient(s.own.Control, s.own.App)
	return s, s.restart(ctx)
}

func (s *copied) openLog() (*os.File, error) {
	if s.opt.Log != "" {
		return os.Create(s.opt.Log)
	}
	return os.Create(s.path("daemon.log"))
}

func (s *copied) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// makeConfig chooses the addresses and writes the config.
func (s *copied) makeConfig(ctx context.Context) error {
	c := s.opt.Config
	name := c.App[:min(len(c.App), 26)] + "-drill"
	s.own = config.Copy{
		App: name, Releases: s.path("releases"), State: s.path("state"), Control: s.path("control.sock"),
		Listen: make(map[string]string),
		User:   s.opt.User,
	}
	for _, p := range c.Processes {
		for _, listener := range p.Listen {
			i := slices.IndexFunc(c.Listen, func(l config.Listen) bool { return l.Name == listener })
			if err := s.address(ctx, listener, c.Listen[i].Address.Network() == "unix"); err != nil {
				return err
			}
		}
	}
	address := s.own.Listen[s.opt.Process.Listen[0]]
	s.to = Target{Network: "tcp", Address: address, Host: "localhost"}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		s.to.Network, s.to.Address = "unix", path
	}
	return s.writeConfig()
}

// address chooses a free address. Another process may take the port before the daemon binds it;
// then the start reports that.
func (s *copied) address(ctx context.Context, name string, isUnix bool) error {
	if isUnix {
		s.own.Listen[name] = "unix:" + s.path(name+".sock")
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	s.own.Listen[name] = l.Addr().String()
	return l.Close()
}

func (s *copied) writeConfig() error {
	text, err := config.WriteCopy(s.opt.Config.Path, s.own)
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("superctl.toml"), text, 0o600)
}

// limitStart sets the start timeout of new workers; 0 means that of the app's config.
func (s *copied) limitStart(limit time.Duration) error {
	s.own.StartTimeout = limit
	return s.writeConfig()
}

// makeReleases links to the working releases.
func (s *copied) makeReleases() error {
	if err := os.Mkdir(s.own.Releases, 0o755); err != nil { // workers of another user run from it
		return err
	}
	for _, r := range s.opt.Releases {
		if err := os.Symlink(r.Path, s.path("releases", r.Name)); err != nil {
			return err
		}
	}
	return nil
}

// breakRelease makes a release that has the programs of a working one, but neither its code nor its
// packages. With evenInterpreter, the interpreter of its workers exits at once, too.
func (s *copied) breakRelease(good Release, evenInterpreter bool) error {
	dir := s.path("releases", brokenName)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	poison := filepath.Join(dir, "poison")
	if err := os.MkdirAll(poison, 0o755); err != nil { // workers of another user read it
		return err
	}
	if good.Virtualenv != "" {
		if err := emptyVirtualenv(good.Virtualenv, filepath.Join(dir, filepath.Base(good.Virtualenv))); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("name = %q\nversion = \"0\"\n", s.opt.Config.App)
	if evenInterpreter {
		text += fmt.Sprintf("[env]\nPYTHONPATH = %q\n", poison)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(poison, "sitecustomize.py"), []byte(poisonCode), 0o644), // likewise
		os.WriteFile(filepath.Join(dir, "release.toml"), []byte(text), 0o644))              // likewise
}

// poisonCode ends a worker, but not the check that the interpreter runs.
const poisonCode = `import os, sys
if "SUPERCTL_GENERATION" in os.environ:
    sys.stderr.write("superctl drill broke this release on purpose\n")
    sys.stderr.flush()
    os._exit(3)
`

// restart starts a daemon as a service manager does, and waits until it is ready.
func (s *copied) restart(ctx context.Context) error {
	env := daemonEnv(os.Environ())
	if s.opt.Credentials != "" {
		env = append(env, "CREDENTIALS_DIRECTORY="+s.opt.Credentials)
	}
	w, err := worker.StartDaemon(
		ctx,
		worker.Command{
			Args: []string{s.opt.Binary, "--config", s.path("superctl.toml"), "daemon"}, Env: env,
			Dir: s.dir,
		}, s.output)
	if err != nil {
		return fmt.Errorf("start the copy's daemon: %w", err)
	}
	s.daemon = w
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("it was not ready within %s", startTime))
	defer cancel()
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	go func() {
		select {
		case <-w.Done():
			ended(errors.New(w.Exit().String()))
		case <-ctx.Done():
		}
	}()
	if _, err := eventually(ctx, s,
		func(st *api.Status) bool { return st.PID == w.PID() && st.Changing == nil }); err != nil {
		return &StartError{Err: fmt.Errorf("start the copy's daemon: %w", err), Log: s.lastWords()}
	}
	return nil
}

// startTime limits how long a daemon may take to become ready, including the survey of running
// processes.
const startTime = time.Minute

// daemonEnv returns the environment of the copy's daemon, without variables that would make it act
// as a service or as another app's daemon.
func daemonEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "SUPERCTL_") || strings.HasPrefix(name, "LISTEN_") ||
			strings.HasPrefix(name, "WATCHDOG_") ||
			strings.HasPrefix(name, "TABLEFLIP_") || strings.HasPrefix(name, "FDSTORE") || slices.Contains([]string{
			"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SERVICE_RESULT", "MAINPID", "STATE_DIRECTORY",
			"RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY",
		}, name)
	})
}

// lastWords returns the last lines of the copy's output.
func (s *copied) lastWords() []string {
	text, err := os.ReadFile(s.output.Name())
	if err != nil {
		return []string{err.Error()}
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[max(0, len(lines)-10):]
}

func (s *copied) target() Target { return s.to }

// endTime limits how long the copy's workers may take to end, after each signal.
const endTime = 10 * time.Second

// close stops the copy's daemon and all processes that it left, and removes its directory.
func (s *copied) close() error {
	var errs []error
	if s.Client != nil {
		errs = append(errs, s.endDaemon(), worker.EndOrphans())
	}
	s.stop()
	s.reaping.Wait()
	if s.output != nil {
		errs = append(errs, s.output.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// endDaemon stops the running daemon, which after an upgrade is not the one that was started.
// Its remaining processes are stopped as orphans.
func (s *copied) endDaemon() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	w := s.daemon
	if st, err := s.Status(ctx); err == nil && (w == nil || st.PID != w.PID()) {
		if w, err = worker.Open(st.PID); err != nil {
			return err
		}
	}
	if w == nil {
		return nil
	}
	for _, how := range endSignals() {
		if err := w.Signal(how); err != nil {
			return err
		}
		select {
		case <-w.Done():
			return nil
		case <-time.After(endTime):
		}
	}
	return nil
}
