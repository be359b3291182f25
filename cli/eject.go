//go:build linux

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/daemon/systemd"
	"superctl/proc"
	"superctl/releases"
	"superctl/setup"
	"superctl/supervisor/health"
	"superctl/takeover/eject"
	"superctl/takeover/running"
	"superctl/takeover/system"
)

func ejectCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "eject", Usage: "replace superctl by a plain systemd unit without losing a request",
		UsageText: "superctl eject [--unit NAME] [--apply]",
		Description: `The way back. It writes a socket unit and a service that run the live release as superctl runs it,
without superctl, and one service for each background process.

Without --apply it shows the units, and changes nothing. With it, as root:

   1. it writes the units, and starts them next to superctl, which keeps all connections
   2. the plain server is proved by the health check of the config
   3. all new connections go to the plain server; superctl's workers finish their requests
   4. superctl@APP is stopped and disabled; the plain units are enabled

A plain server that is not healthy leaves superctl serving as before. An app with one TCP address
can be ejected; superctl takeover is the way here again.

   superctl eject
   superctl eject --unit shop-plain --apply`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "unit", Usage: "`NAME` of the units, without .service (default: the app's)"},
			&cli.BoolFlag{Name: "apply", Usage: "do it (as root)"},
			&cli.BoolFlag{Name: "replace", Usage: "overwrite units that exist and differ; the present ones are kept as FILE.old"},
		},
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			ctx, stop := commandline.Interruptible()
			defer stop()
			if err := c.eject(ctx, cc, conf); err != nil {
				return fmt.Errorf("eject: %w", err)
			}
			return nil
		},
	}
}

func (c *command) eject(ctx context.Context, cc *cli.Context, conf *config.Config) error {
	web, err := ejectable(conf)
	if err != nil {
		return err
	}
	site, err := plainSite(conf, web, cc.String("unit"))
	if err != nil {
		return err
	}
	machine, err := setup.ThisMachine()
	if err != nil {
		return err
	}
	plan := &setup.Plan{App: conf.App, Files: site.Files(), After: []setup.Command{{Args: []string{"systemctl", "daemon-reload"}}}}
	for i := range plan.Files {
		f := &plan.Files[i]
		if f.Old, f.Exists, err = machine.Read(f.Path); err != nil {
			return err
		}
	}
	if !cc.Bool("apply") {
		for _, f := range plan.Files {
			fmt.Fprint(c.stdout, f.Diff())
		}
		fmt.Fprintf(c.stdout, "\nNothing was changed. To do this, as root: superctl %s\n",
			shellquote.Join(append(os.Args[1:], "--apply")...))
		return nil
	}
	return c.applyEject(ctx, cc.Bool("replace"), conf, web, site, plan)
}

// ejectable returns the process with the listener, or why the app cannot be ejected.
func ejectable(conf *config.Config) (web config.Process, err error) {
	if len(conf.Listen) != 1 || conf.Listen[0].Address.Network() != "tcp" {
		return web, fmt.Errorf("only an app with exactly one TCP address can be ejected without downtime. "+
			"For others stop superctl@%s, and start a unit of your own", conf.App)
	}
	var listening []config.Process
	for _, p := range conf.Processes {
		if len(p.Listen) > 0 {
			listening = append(listening, p)
		}
	}
	if len(listening) != 1 || listening[0].Instances > 1 {
		return web, errors.New("only an app with one process on its address can be ejected, in one instance")
	}
	return listening[0], nil
}

// plainSite describes the app as plain units run it.
func plainSite(conf *config.Config, web config.Process, name string) (*eject.Site, error) {
	r, err := execRelease(conf, "")
	if err != nil {
		return nil, err
	}
	if to, err := filepath.EvalSymlinks(conf.Current); conf.Current != "" && (err != nil || to != r.Path) {
		return nil, fmt.Errorf("%s does not lead to %s, which is live: superctl reload mends it", conf.Current, r.Name)
	}
	u, err := workersUser(conf)
	if err != nil {
		return nil, err
	}
	l := conf.Listen[0]
	s := &eject.Site{
		Name: cmp.Or(name, conf.App), App: conf.App, Dir: cmp.Or(conf.Current, r.Path),
		Address: l.Address.String(), Backlog: cmp.Or(l.Backlog, 2048),
	}
	if u != nil {
		s.User = u.Name
	}
	if venv := r.Virtualenv(); venv != "" && conf.Virtualenv {
		s.Bin = filepath.Join(s.Dir, strings.TrimPrefix(venv, r.Path), "bin")
	}
	for _, v := range conf.Env {
		if v.Credential != "" || v.Template {
			return nil, fmt.Errorf("the variable %s has a value of superctl's own (a credential or a placeholder): "+
				"write the units by hand", v.Name)
		}
		s.Env = append(s.Env, v.Name+"="+v.Value)
	}
	others := slices.DeleteFunc(slices.Clone(conf.Processes), func(p config.Process) bool { return p.Name == web.Name })
	for _, p := range append([]config.Process{web}, others...) {
		program, err := plainProgram(conf, r, p)
		if err != nil {
			return nil, err
		}
		s.Programs = append(s.Programs, program)
	}
	return s, nil
}

func plainProgram(conf *config.Config, r releases.Release, p config.Process) (eject.Program, error) {
	applied := daemon.CommandOf(conf, r, p)
	switch {
	case applied.Bridged:
		return eject.Program{}, fmt.Errorf("process %s needs superctl to listen on its address: write its unit by hand", p.Name)
	case len(p.Env) > 0:
		return eject.Program{}, fmt.Errorf("process %s has variables of its own: move them to [env], or write its unit by hand", p.Name)
	}
	program := eject.Program{
		Name: p.Name, Notify: p.Notify || applied.Server == "gunicorn", Drain: p.Drain, Copies: p.Instances,
	}
	if s := applied.StopSignal; s != unix.SIGTERM {
		program.Signal = unix.SignalName(s)
	}
	for _, word := range applied.Command {
		if len(p.Listen) > 0 {
			word = strings.ReplaceAll(word, "{fd."+p.Listen[0]+"}", "3") // SD_LISTEN_FDS_START
		}
		if strings.Contains(word, "{") && strings.Contains(word, "}") {
			return program, fmt.Errorf("the command of process %s has a placeholder of superctl, %s: write its unit by hand", p.Name, word)
		}
		program.Command = append(program.Command, word)
	}
	return program, nil
}

func (c *command) applyEject(
	ctx context.Context, replace bool, conf *config.Config, web config.Process, site *eject.Site, plan *setup.Plan,
) error {
	if os.Geteuid() != 0 {
		return errors.New("--apply needs root: run it with sudo")
	}
	unit := "superctl@" + conf.App + ".service"
	service, err := systemd.FindService(ctx, unit)
	if err != nil {
		return err
	}
	if service == nil || service.MainPID() == 0 {
		return fmt.Errorf("%s does not run", unit)
	}
	stat, err := proc.ReadStat(service.MainPID())
	if err != nil {
		return err
	}
	say := func(text string) {
		fmt.Fprintf(c.stdout, "%s %s\n", terminal.PaletteFor(c.stdout).Green("did"), text)
	}
	if err := plan.Apply(ctx, replace, asRoot, say); err != nil {
		return err
	}
	_, err = eject.Run(ctx, running.Process{PID: stat.PID, Start: stat.Start}, eject.Options{
		Unit: unit, Address: site.Address, Socket: site.Socket(), Service: site.Service(), Others: site.Others(),
		Single: func(ctx context.Context) (bool, error) {
			st, err := control.NewClient(conf.Control).Status(ctx)
			return err == nil && st.Changing == nil && len(st.Generations) == 1, err
		},
		Prove: proveBy(conf, web), StartLimit: web.StartTimeout, Drain: longestDrain(conf), Run: system.Run, Say: say,
	})
	var kept *eject.KeptError
	if errors.As(err, &kept) {
		return fmt.Errorf("%w\nsuperctl serves %s as before", err, conf.App)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s serves; see systemctl status %s", err, site.Service(), unit)
	}
	fmt.Fprintf(c.stdout, "%s serves %s, and superctl does not run for %s any more\n", site.Service(), site.Address, conf.App)
	return nil
}

// proveBy returns the health check of the config.
func proveBy(conf *config.Config, web config.Process) func(context.Context, func(context.Context) (net.Conn, error)) error {
	policy := web.Health
	if policy == nil {
		policy = &health.Policy{Check: health.Check{AnyAnswer: true}}
	}
	policy = policy.WithProtocol(cmp.Or(policy.Protocol, daemon.CommandOf(conf, releases.Release{}, web).Protocol))
	return func(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
		for _, check := range policy.Checks() {
			if check.Kind == health.Exec {
				continue // it does not reach the server by its address
			}
			if r := check.Run(ctx, health.Listener{Name: conf.Listen[0].Name, Dial: dial}); !r.OK {
				return errors.New(r.Reason)
			}
		}
		return nil
	}
}

func longestDrain(conf *config.Config) (d time.Duration) {
	for _, p := range conf.Processes {
		d = max(d, p.Drain)
	}
	return d
}
