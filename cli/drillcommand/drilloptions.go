//go:build linux

package drillcommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/drill"
	"superctl/releases"
	"superctl/servers"
	"superctl/version"
)

// The limits of a drill. They are low because a drill is a test and not a benchmark.
const (
	maxSwitches = 100
	maxRate     = 2000
	maxClients  = 256
)

// drillOptions returns the options of a drill from the command line and the config.
func drillOptions(ctx context.Context, cc *cli.Context) (opt drill.Options, err error) {
	if err := checkDrill(cc); err != nil {
		return opt, commandline.Usagef("drill: %w", err)
	}
	conf, err := app.Load(cc)
	if err != nil {
		return opt, err
	}
	p, err := processToDrill(conf, cc.String("process"))
	if err != nil {
		return opt, commandline.Usagef("drill: %w", err)
	}
	check := p.Health.HTTP()
	opt = drill.Options{
		Config: conf, Process: p, Version: version.String(), Temporary: daemon.TemporaryParent(),
		Switches: cc.Int("switches"), Live: cc.Bool("live"), Kills: cc.Bool("kills"), Log: cc.String("log"),
		Load: drill.Load{
			Paths: cc.StringSlice("path"), Posts: cc.StringSlice("post"), Host: cmp.Or(
				cc.String("host"), check.Host,
			), Rate: cc.Float64("rate"), FixedRate: cc.IsSet("rate"), Clients: cc.Int("clients"),
			KeepAlive: cc.Bool("keep-alive"), Timeout: cc.Duration("timeout"),
		},
	}
	if len(opt.Load.Paths) == 0 && len(opt.Load.Posts) == 0 {
		opt.Load.Paths = []string{cmp.Or(check.Path, "/")}
	}
	done := servers.Apply(servers.Input{Command: p.Command, Listen: p.Listen, Drain: p.Drain, Server: p.Server})
	opt.Server = serverToDrill(p, done)
	if cmp.Or(check.Protocol, done.Protocol) == "uwsgi" && cc.String("via") == "" {
		return opt, commandline.Usagef(
			"drill: process.%s speaks uwsgi, but a drill speaks HTTP: "+
				"send the load through the proxy with --live --via http://127.0.0.1", p.Name,
		)
	}
	if opt.Live {
		return opt, liveOptions(ctx, cc, &opt)
	}
	return opt, copyOptions(ctx, &opt)
}

// serverToDrill returns what the report says of the server.
func serverToDrill(p config.Process, done servers.Applied) drill.Server {
	return drill.Server{
		Name: done.Server, StopSignal: unix.SignalName(syscall.Signal(cmp.Or(p.StopSignal, int(done.StopSignal)))),
		HookOff: done.Hook && !daemon.Hooked(p, done),
	}
}

// checkDrill checks the options that are independent of the app.
func checkDrill(cc *cli.Context) error {
	for _, path := range slices.Concat(cc.StringSlice("path"), cc.StringSlice("post")) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n") {
			return fmt.Errorf("invalid path %q: it starts with / and has no blanks, such as /search?q=x", path)
		}
	}
	switch {
	case cc.Int("switches") < 1 || cc.Int("switches") > maxSwitches:
		return fmt.Errorf("--switches %d: use 1 to %d", cc.Int("switches"), maxSwitches)
	case !(cc.Float64("rate") >= 1 && cc.Float64("rate") <= maxRate):
		return fmt.Errorf("--rate %g: use 1 to %d", cc.Float64("rate"), maxRate)
	case cc.Int("clients") < 1 || cc.Int("clients") > maxClients:
		return fmt.Errorf("--clients %d: use 1 to %d", cc.Int("clients"), maxClients)
	case cc.Duration("timeout") < 100*time.Millisecond || cc.Duration("timeout") > 5*time.Minute:
		return fmt.Errorf("--timeout %s: use 100ms to 5m", cc.Duration("timeout"))
	case strings.ContainsAny(cc.String("host"), " \r\n"):
		return fmt.Errorf("--host %q: a host has no blanks", cc.String("host"))
	}
	return checkDrillMode(cc)
}

// checkDrillMode checks the options that are for the running app alone, or for a copy alone.
func checkDrillMode(cc *cli.Context) error {
	for _, name := range []string{"via", "kills", "yes"} {
		if cc.IsSet(name) && !cc.Bool("live") {
			return fmt.Errorf("--%s needs --live: a copy has its own address and is always killed", name)
		}
	}
	if cc.IsSet("log") && cc.Bool("live") {
		return errors.New("--log needs a copy: for the running app, use superctl logs")
	}
	return nil
}

// processToDrill returns the process that gets the load.
func processToDrill(conf *config.Config, name string) (config.Process, error) {
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
		return config.Process{}, fmt.Errorf(
			"%s has no process with a listener: a drill sends its load to one", conf.Path,
		)
	}
	return config.Process{}, fmt.Errorf(
		"--process %s: no process with a listener has this name: use %s", name, strings.Join(names, " or "),
	)
}

// copyOptions adds to the options what a copy of the app needs.
func copyOptions(ctx context.Context, opt *drill.Options) (err error) {
	if opt.Releases, err = releasesToDrill(ctx, opt.Config); err != nil {
		return err
	}
	user, err := app.WorkersUser(opt.Config)
	if err != nil {
		return fmt.Errorf("drill: user of the workers: %w", err)
	}
	if user != nil && opt.Config.User == nil {
		opt.User = user.Name
	}
	if opt.Binary, err = os.Executable(); err != nil {
		return err
	}
	if err := daemon.CheckCredentials(opt.Config, user); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	opt.Credentials = daemon.Credentials(opt.Config, user)
	return nil
}

// releasesToDrill returns the releases that can be started: the live one, the previous one, then
// the others from the newest on.
func releasesToDrill(ctx context.Context, conf *config.Config) (list []drill.Release, err error) {
	store, err := conf.OpenStore()
	if err != nil {
		return nil, err
	}
	all, err := store.List()
	if err != nil {
		return nil, err
	}
	asked, cancel := context.WithTimeout(ctx, app.AskTime)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(asked)
	if err != nil { // without a daemon, the release that was last live counts, if this user may read the state
		last, _ := daemon.ReadLast(conf)
		st.Release, st.Previous = last.Release.Name, last.Previous.Name
	}
	first := []string{st.Previous, st.Release}
	slices.SortStableFunc(all, func(a, b releases.Release) int {
		return cmp.Compare(slices.Index(first, b.Name), slices.Index(first, a.Name))
	})
	var why error
	for _, r := range all {
		if err := r.Check(ctx, releases.CheckOptions{NoVirtualenv: !conf.Virtualenv}); err != nil {
			why = errors.Join(why, err)
			continue
		}
		list = append(list, drillRelease(r, conf.Virtualenv))
	}
	if len(list) == 0 {
		return nil, errors.Join(
			fmt.Errorf("drill: no release in %s can be started", conf.Releases), why,
		)
	}
	return list, nil
}

func drillRelease(r releases.Release, virtualenv bool) drill.Release {
	out := drill.Release{Name: r.Name, Path: r.Path}
	if virtualenv {
		out.Virtualenv = r.Virtualenv()
	}
	return out
}

// liveOptions adds to the options what a drill needs to know of the running app.
func liveOptions(ctx context.Context, cc *cli.Context, opt *drill.Options) error {
	st, err := control.NewClient(opt.Config.Control, opt.Config.App).Status(ctx)
	switch {
	case err != nil:
		return err
	case st.Release == "":
		return errors.New("drill: no release is live")
	case opt.Kills && !drill.Restarted(st.PID):
		return commandline.Usagef(
			"drill: --kills needs a daemon that systemd restarts: pid %d does not run in a unit superctl@.service", st.PID,
		)
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
		return commandline.Usagef("drill: %w", err)
	}
	return nil
}
