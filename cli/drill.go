package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"superctl/cli/config"
	"superctl/cli/drill"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/control"
	"superctl/supervisor/preset"
)

// The bounds of what a drill may be asked for: it tries an app, it is no benchmark.
const (
	mostSwitches = 100
	mostRate     = 2000
	mostClients  = 256
)

func (c *command) drillCommand() *cli.Command {
	return &cli.Command{
		Name: "drill", Usage: "prove on this app and machine that no request is lost", UsageText: "superctl drill [--path PATH]... [--switches N] [--keep-alive] [--live] [--json] [--report FILE]",
		Description: `Sends a steady load to a copy of the app on a private address, and meanwhile switches, rolls back and reloads it, kills a
worker and the daemon, upgrades the daemon and tries a broken release. Then it says what became of every request.
The copy has the config's web processes and releases, but runs no hooks and nothing in the background; it needs the memory and the
database connections of two generations more. Exit code 1: a request was lost, or a promise broken.

With --live it is the app that runs which is drilled. Then hooks run and messages are sent as for any switch, nothing is
killed without --kills, and the release that is live now is live in the end.

   superctl drill
   superctl drill --path / --path /search?q=x --post /echo --report drill.html
   superctl drill --live --via http://127.0.0.1 --keep-alive --switches 2     through nginx`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "path", Usage: "GET this `PATH`; again for more (default: the health check's)"},
			&cli.StringSliceFlag{Name: "post", Usage: "POST 4 KB to this `PATH`, too; again for more"},
			&cli.StringFlag{Name: "host", Usage: "the Host `HEADER` (default: the health check's)"},
			&cli.StringFlag{Name: "process", Usage: "the `PROCESS` that answers (default: the first with a listener)"},
			&cli.IntFlag{Name: "switches", Value: 3, Usage: "how many switches, `N`"},
			&cli.Float64Flag{Name: "rate", Value: 50, Usage: "requests a second, `N`"},
			&cli.IntFlag{Name: "clients", Value: 8, Usage: "at most `N` requests at once"},
			&cli.BoolFlag{Name: "keep-alive", Usage: "clients keep their connections, as browsers and some proxies do"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "how `LONG` a request may take"},
			&cli.BoolFlag{Name: "live", Usage: "drill the app that runs"},
			&cli.StringFlag{Name: "via", Usage: "with --live: send the load to the server in front, at `URL`"},
			&cli.BoolFlag{Name: "kills", Usage: "with --live: kill a worker and the daemon, too"},
			&cli.BoolFlag{Name: "yes", Usage: "with --live: do not ask"},
			&cli.StringFlag{Name: "log", Usage: "write what the copy says to `FILE`"},
			&cli.StringFlag{Name: "report", Usage: "write an HTML page with a plot to `FILE`"},
			jsonFlag(),
		},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.drill(cc)
		},
	}
}

func (c *command) drill(cc *cli.Context) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	opt, err := drillOptions(ctx, cc)
	if err != nil {
		return err
	}
	page, err := pageFile(cc.String("report"))
	if err != nil {
		return err
	}
	defer page.Cleanup() //nolint:errcheck // a file that was finished is not there any more
	if opt.Live && !cc.Bool("yes") {
		if err := c.askFirst(cc.App.Reader, opt); err != nil {
			return err
		}
	}
	show := newProgress(c.stderr, c.now)
	if cc.Bool("json") {
		show = newSilence()
	}
	opt.Show = show.drill
	rep, err := drill.Run(ctx, opt)
	show.end()
	if err != nil {
		return c.notDrilled(ctx, err)
	}
	if page.PendingFile != nil {
		if err := errors.Join(rep.WritePage(page), page.Chmod(0o644), page.CloseAtomicallyReplace()); err != nil {
			return fmt.Errorf("drill: write %s: %w", cc.String("report"), err)
		}
	}
	if cc.Bool("json") {
		err = c.json(rep)
	} else {
		c.tellDrill(rep)
	}
	if err == nil && !rep.OK {
		return &outcomeError{supervisor.Aborted}
	}
	return err
}

// notDrilled says why there is no report.
func (c *command) notDrilled(ctx context.Context, err error) error {
	var not *drill.NotBegunError
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return errors.New("drill: interrupted; what it had begun is ended")
	}
	if errors.As(err, &not) && len(not.Log) > 0 {
		fmt.Fprintln(c.stderr, "its last lines:")
		for _, l := range not.Log {
			fmt.Fprintf(c.stderr, "  | %s\n", l)
		}
	}
	return fmt.Errorf("drill: %w", err)
}

// pendingPage is the HTML page to be, if one is wanted.
type pendingPage struct{ *renameio.PendingFile }

// Cleanup removes a page that was not finished.
func (p pendingPage) Cleanup() error {
	if p.PendingFile == nil {
		return nil
	}
	return p.PendingFile.Cleanup()
}

// pageFile makes the file of the page before the drill, so that a wrong path is not found out after it.
func pageFile(path string) (pendingPage, error) {
	if path == "" {
		return pendingPage{}, nil
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return pendingPage{}, &usageError{fmt.Errorf("drill: --report %s cannot be written: %w", path, err)}
	}
	return pendingPage{f}, nil
}

// drillOptions reads the command line and the config.
func drillOptions(ctx context.Context, cc *cli.Context) (opt drill.Options, err error) {
	if err := checkDrill(cc); err != nil {
		return opt, &usageError{fmt.Errorf("drill: %w", err)}
	}
	conf, err := load(cc)
	if err != nil {
		return opt, err
	}
	p, err := drilledProcess(conf, cc.String("process"))
	if err != nil {
		return opt, &usageError{fmt.Errorf("drill: %w", err)}
	}
	opt = drill.Options{
		Config: conf, Process: p, Version: version(), Switches: cc.Int("switches"), Live: cc.Bool("live"), Kills: cc.Bool("kills"), Log: cc.String("log"),
		Load: drill.Load{
			Paths: cc.StringSlice("path"), Posts: cc.StringSlice("post"), Host: cmp.Or(cc.String("host"), p.Health.Host), Rate: cc.Float64("rate"), Clients: cc.Int("clients"),
			KeepAlive: cc.Bool("keep-alive"), Timeout: cc.Duration("timeout"),
		},
	}
	if len(opt.Load.Paths) == 0 && len(opt.Load.Posts) == 0 {
		opt.Load.Paths = []string{cmp.Or(p.Health.Path, "/")}
	}
	done := preset.Apply(preset.Input{Command: p.Command, Listen: p.Listen, Drain: p.Drain, Server: p.Server})
	opt.Server = drill.Server{Name: done.Server, StopSignal: unix.SignalName(syscall.Signal(cmp.Or(p.StopSignal, int(done.StopSignal)))), HookOff: done.Hook && !hooked(p, done)}
	if cmp.Or(p.Health.Protocol, done.Protocol) == "uwsgi" && cc.String("via") == "" {
		return opt, &usageError{fmt.Errorf("drill: process.%s speaks uwsgi, and a drill HTTP: send it through the server in front, with --live --via http://127.0.0.1", p.Name)}
	}
	if opt.Live {
		return opt, liveOptions(ctx, cc, &opt)
	}
	return opt, copyOptions(ctx, &opt)
}

// checkDrill looks at what can be wrong without a look at the app.
func checkDrill(cc *cli.Context) error {
	for _, path := range slices.Concat(cc.StringSlice("path"), cc.StringSlice("post")) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n") {
			return fmt.Errorf("path %q: write it from /, such as /search?q=x", path)
		}
	}
	switch {
	case cc.Int("switches") < 1 || cc.Int("switches") > mostSwitches:
		return fmt.Errorf("--switches %d: it must be from 1 to %d", cc.Int("switches"), mostSwitches)
	case !(cc.Float64("rate") >= 1 && cc.Float64("rate") <= mostRate):
		return fmt.Errorf("--rate %g: it must be from 1 to %d", cc.Float64("rate"), mostRate)
	case cc.Int("clients") < 1 || cc.Int("clients") > mostClients:
		return fmt.Errorf("--clients %d: it must be from 1 to %d", cc.Int("clients"), mostClients)
	case cc.Duration("timeout") < 100*time.Millisecond || cc.Duration("timeout") > 5*time.Minute:
		return fmt.Errorf("--timeout %s: it must be from 100ms to 5m", cc.Duration("timeout"))
	case strings.ContainsAny(cc.String("host"), " \r\n"):
		return fmt.Errorf("--host %q: it cannot have blanks", cc.String("host"))
	}
	for _, name := range []string{"via", "kills", "yes"} {
		if cc.IsSet(name) && !cc.Bool("live") {
			return fmt.Errorf("--%s is for --live: a copy has an address of its own, and is killed anyway", name)
		}
	}
	if cc.IsSet("log") && cc.Bool("live") {
		return errors.New("--log is for a copy: superctl logs has what the app that runs says")
	}
	return nil
}

// drilledProcess is the one that answers.
func drilledProcess(conf *config.Config, name string) (config.Process, error) {
	var names []string
	for _, p := range conf.Processes {
		if len(p.Listen) > 0 && (name == "" || p.Name == name) {
			return p, nil
		}
		if len(p.Listen) > 0 {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return config.Process{}, fmt.Errorf("%s has no process with a listener, so there is nothing to send requests to", conf.Path)
	}
	return config.Process{}, fmt.Errorf("--process %s: the processes with listeners are %s", name, strings.Join(names, ", "))
}

// copyOptions is what a copy needs.
func copyOptions(ctx context.Context, opt *drill.Options) error {
	user, err := workersUser(opt.Config)
	if err != nil {
		return fmt.Errorf("drill: who the workers are: %w", err)
	}
	if user != nil && opt.Config.User == nil {
		opt.User = user.Name
	}
	if opt.Binary, err = os.Executable(); err != nil {
		return err
	}
	var source credentialSource
	if err := source.check(opt.Config, user); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if opt.Credentials, err = source.directory(opt.Config, user); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	store, err := releases.Open(opt.Config.Releases, opt.Config.Current)
	if err != nil {
		return err
	}
	list, err := store.List()
	if err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	st, err := control.NewClient(opt.Config.Control).Status(asked)
	if err != nil { // without a daemon, live is what was live last, as far as this user may know
		last, _ := supervisor.ReadLast(opt.Config.State, opt.Config.App)
		st.Release, st.Previous = last.Release.Name, last.Previous.Name
	}
	rank := func(r releases.Release) int { return slices.Index([]string{r.Name, st.Previous, st.Release}, r.Name) }
	slices.SortStableFunc(list, func(a, b releases.Release) int { return cmp.Compare(rank(b), rank(a)) })
	var why error
	for _, r := range list {
		if err := r.Check(ctx, releases.CheckOptions{NoVirtualenv: !opt.Config.Virtualenv}); err != nil {
			why = errors.Join(why, err)
			continue
		}
		opt.Releases = append(opt.Releases, drilled(r, opt.Config.Virtualenv))
	}
	if len(opt.Releases) == 0 {
		return errors.Join(fmt.Errorf("drill: there is no release in %s that could be started", opt.Config.Releases), why)
	}
	return nil
}

func drilled(r releases.Release, virtualenv bool) drill.Release {
	out := drill.Release{Name: r.Name, Path: r.Path}
	if virtualenv {
		out.Virtualenv = r.Virtualenv()
	}
	return out
}

// liveOptions is what has to be known of the app that runs.
func liveOptions(ctx context.Context, cc *cli.Context, opt *drill.Options) error {
	st, err := control.NewClient(opt.Config.Control).Status(ctx)
	switch {
	case err != nil:
		return err
	case st.Release == "":
		return errors.New("drill: no release is live")
	case opt.Kills && !drill.Restarted(st.PID):
		return &usageError{fmt.Errorf("drill: --kills: the daemon (pid %d) does not run in a unit superctl@.service, so nobody would start it again", st.PID)}
	}
	opt.Releases = []drill.Release{{Name: st.Release}}
	if st.Previous != "" && st.Previous != st.Release {
		opt.Releases = append(opt.Releases, drill.Release{Name: st.Previous})
	}
	machine := drill.ThisMachine()
	if via := cc.String("via"); via != "" {
		opt.Target, err = machine.Via(ctx, via)
	} else {
		i := slices.IndexFunc(opt.Config.Listen, func(l config.Listen) bool { return l.Name == opt.Process.Listen[0] })
		opt.Target, err = machine.Listener(ctx, opt.Process.Listen[0], opt.Config.Listen[i].Address.String())
	}
	if err != nil {
		return &usageError{fmt.Errorf("drill: %w", err)}
	}
	return nil
}

// askFirst has a person agree to a drill of the app that runs.
func (c *command) askFirst(stdin io.Reader, opt drill.Options) error {
	if !isTerminal(c.stderr) || !readsTerminal(stdin) {
		return &usageError{errors.New("drill: --live does things to the app that runs: add --yes, where nobody can be asked")}
	}
	what := fmt.Sprintf("%d reloads", opt.Switches+1)
	if len(opt.Releases) > 1 {
		what = fmt.Sprintf("%d switches between %s and %s, a rollback, a reload", opt.Switches, opt.Releases[0].Name, opt.Releases[1].Name)
	}
	if opt.Kills {
		what += ", kill -9 of a worker and of the daemon"
	}
	fmt.Fprintf(c.stderr, "%s, which runs and has users: %s, an upgrade of the daemon; hooks and messages as ever; %g requests a second to %s meanwhile.\nGo on? [y/N] ",
		opt.Config.App, what, opt.Load.Rate, opt.Target)
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
		return errors.New("drill: not begun")
	}
	return nil
}

func readsTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isTerminal(f)
}
