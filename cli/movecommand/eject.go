//go:build linux

package movecommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/daemon/systemd"
	"superctl/releases"
	"superctl/setup"
	"superctl/supervisor/health"
	"superctl/takeover/eject"
	"superctl/takeover/running"
)

// Eject is the command superctl eject.
func Eject(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "eject", Usage: "replace superctl by plain systemd units without losing a request",
		UsageText: "superctl eject [--unit NAME] [--apply | --undo] [--json]",
		Description: `The way back. It writes plain systemd units that run the live release without superctl: a socket unit
and a service for the web server, and a service for each background process.

Without --apply it shows the units, and changes nothing. With it, as root:

   1. it starts the plain server next to superctl, which keeps all connections
   2. the plain server must answer the health check of the config
   3. all new connections go to the plain server; superctl's workers finish
   4. superctl has ended: the background processes start
   5. superctl@APP is disabled, the plain units are enabled

If the plain server is not healthy, superctl serves as before. So it does after Ctrl-C before step
3. If the command is killed, run it again: it goes on where it was. Or undo it with --undo: that
works until superctl has ended. An app with one address, a port or a unix socket, can be ejected.
superctl takeover is the way to superctl again.

   superctl eject
   superctl eject --unit shop-plain --apply`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "unit", Usage: "`NAME` of the units, without .service (default: the app's)"},
			&cli.BoolFlag{Name: "apply", Usage: "do it (as root)"},
			&cli.BoolFlag{Name: "undo", Usage: "undo an eject that was killed: superctl serves as before (as root)"},
			&cli.BoolFlag{Name: "replace", Usage: "overwrite units that exist and differ; the present ones are kept as FILE.old"},
			commandline.JSONFlag(),
		},
		Action: c.eject,
	}
}

// eject runs superctl eject.
func (c *command) eject(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	if err := checkUnitName(cc.String("unit"), conf.App); err != nil {
		return commandline.Usagef("eject: %w", err)
	}
	// The command must not end between two steps because the terminal was closed.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	e := &ejection{command: c, cc: cc, conf: conf, unit: "superctl@" + conf.App + ".service"}
	if err := e.run(ctx); err != nil {
		return fmt.Errorf("eject: %w", err)
	}
	return nil
}

// checkUnitName returns an error for a name that no unit can have.
func checkUnitName(name, app string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	switch {
	case strings.HasSuffix(name, ".service"), strings.HasSuffix(name, ".socket"):
		return fmt.Errorf("--unit %s: write the name without its suffix: --unit %s", name, strings.TrimSuffix(
			strings.TrimSuffix(name, ".service"), ".socket"))
	case strings.Trim(name, letters) != "":
		return fmt.Errorf("--unit %q: use letters, digits, and _ . -: for instance --unit %s-plain", name, app)
	}
	return nil
}

// ejection is one run of superctl eject.
type ejection struct {
	*command
	cc     *cli.Context
	conf   *config.Config
	web    config.Process
	unit   string          // superctl's
	daemon running.Process // superctl's; no PID if it does not run
	lock   *eject.Lock
	site   *eject.Site
	plan   *setup.Plan
	did    []string
}

func (e *ejection) run(ctx context.Context) (err error) {
	if e.web, err = ejectable(e.conf); err != nil {
		return err
	}
	apply, undo := e.cc.Bool("apply"), e.cc.Bool("undo")
	if apply && undo {
		return commandline.Usagef("eject: --apply and --undo exclude each other")
	}
	if (apply || undo) && os.Geteuid() != 0 {
		return errors.New("--apply and --undo need root: run it with sudo")
	}
	if err := e.begin(ctx, apply || undo); err != nil {
		return err
	}
	if e.lock != nil {
		defer func() { err = errors.Join(err, e.lock.Close()) }()
	}
	if err := e.decide(ctx); err != nil {
		return err
	}
	if undo {
		return e.takeBack(ctx)
	}
	return e.carryOut(ctx, apply)
}

// carryOut shows the plan and, with apply, does it. There is nothing to do if an earlier run has done
// everything.
func (e *ejection) carryOut(ctx context.Context, apply bool) error {
	done, err := e.done(ctx)
	if err != nil {
		return err
	}
	if done {
		return e.conclude(false, nil)
	}
	asJSON := e.cc.Bool("json")
	if !asJSON {
		e.print().ejectPlan(e)
	}
	switch {
	case apply:
		return e.conclude(true, e.apply(ctx))
	case asJSON:
		return e.JSON(e.outcome(false, false, nil))
	}
	args := shellquote.Join(append(os.Args[1:], "--apply")...)
	fmt.Fprintf(e.Stdout, "\nNothing was changed. To do this, as root: superctl %s\n", args)
	return nil
}

// begin finds superctl's daemon. With apply it keeps other ejects away, and wakes a daemon that a
// killed one has left frozen.
func (e *ejection) begin(ctx context.Context, apply bool) (err error) {
	if apply {
		e.lock, e.daemon, err = eject.Begin(ctx, e.unit, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, app.AskTime)
			defer cancel()
			_, err := control.NewClient(e.conf.Control, e.conf.App).Status(ctx)
			return err
		}, e.say)
		return err
	}
	service, err := systemd.FindService(ctx, e.unit)
	if err != nil || service == nil {
		return err
	}
	e.daemon.PID = service.MainPID()
	return nil
}

// decide makes the units and compares them with the machine.
func (e *ejection) decide(ctx context.Context) (err error) {
	if e.site, err = plainSite(e.conf, e.web, e.cc.String("unit"), e.daemon.PID); err != nil {
		return err
	}
	machine, err := setup.ThisMachine()
	if err != nil {
		return err
	}
	e.plan = &setup.Plan{App: e.conf.App, Files: e.site.Files(), After: []setup.Command{{Args: []string{"systemctl", "daemon-reload"}}}}
	foreign := ""
	for i := range e.plan.Files {
		f := &e.plan.Files[i]
		if f.Old, f.Exists, err = machine.Read(f.Path); err != nil {
			return err
		}
		own := strings.HasPrefix(f.Old, eject.Header)
		if f.Exists && !own && f.Old != f.Content {
			foreign = cmp.Or(foreign, f.Path)
		}
		if f.Secret && own && f.Old != f.Content {
			f.Old, f.Exists = "", false // it is written again, and no value is kept
		}
	}
	if foreign != "" && !e.cc.Bool("replace") {
		return fmt.Errorf("%s is there already, and superctl eject did not write it\nchoose another name, such as --unit %s-plain, "+
			"or overwrite it with --replace, which keeps it as %s.old", foreign, e.site.Name, foreign)
	}
	return e.runs(ctx)
}

// runs returns an error if neither superctl nor the plain server runs.
func (e *ejection) runs(ctx context.Context) error {
	if e.daemon.PID != 0 {
		return nil
	}
	plain, err := systemd.FindService(ctx, e.site.Service())
	if err != nil {
		return err
	}
	if plain == nil || !plain.Wanted() || !e.installed() {
		return fmt.Errorf("%s does not run, so there is no connection to keep\nrun systemctl start %s first", e.unit, e.unit)
	}
	return nil
}

// installed reports whether all units are as this command writes them.
func (e *ejection) installed() bool {
	for _, f := range e.plan.Files {
		if f.Changed() {
			return false
		}
	}
	return true
}

// done reports whether an earlier run has done everything.
func (e *ejection) done(ctx context.Context) (bool, error) {
	if e.daemon.PID != 0 || !e.installed() || eject.Unsettled(e.site) {
		return false, nil
	}
	own, err := systemd.FindService(ctx, e.unit)
	if err != nil || own != nil && own.Enabled() {
		return false, err
	}
	for _, unit := range append(e.site.Others(), e.site.Service(), e.site.Socket()) {
		u, err := systemd.FindService(ctx, unit)
		if err != nil || u == nil || !u.Enabled() || !u.Wanted() {
			return false, err
		}
	}
	return true, nil
}

// apply does it.
func (e *ejection) apply(ctx context.Context) error {
	if err := e.plan.Apply(ctx, true, asRoot, e.say); err != nil {
		return &eject.KeptError{Err: err}
	}
	_, err := eject.Run(ctx, e.daemon, e.options())
	return err
}

// takeBack undoes an eject that was killed.
func (e *ejection) takeBack(ctx context.Context) error {
	if e.daemon.PID == 0 {
		return fmt.Errorf("%s has ended, so there is nothing to undo\nto finish the eject, run superctl eject --apply; "+
			"superctl takeover is the way to superctl again", e.unit)
	}
	err := eject.Undo(ctx, e.daemon, e.options())
	if e.cc.Bool("json") {
		out := e.outcome(err == nil, false, err)
		out.Kept = err == nil
		return errors.Join(e.JSON(out), err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Stdout, "%s: superctl %s on %s as before\n", e.conf.App, terminal.PaletteFor(e.Stdout).Green("serves"),
		e.site.Listen.Address)
	return nil
}

func (e *ejection) options() eject.Options {
	return eject.Options{
		Unit: e.unit, Address: e.site.Listen.Address, Path: e.site.Listen.Path,
		Socket: e.site.Socket(), Service: e.site.Service(), Others: e.site.Others(),
		Single: func(ctx context.Context) (bool, error) {
			st, err := control.NewClient(e.conf.Control, e.conf.App).Status(ctx)
			return err == nil && st.Changing == nil && len(st.Generations) == 1, err
		},
		Prove: proveBy(e.conf, e.web), StartLimit: e.web.StartTimeout, Drain: longestDrain(e.conf), Lock: e.lock,
		Say: e.say,
	}
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
