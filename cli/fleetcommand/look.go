package fleetcommand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/fleet"
)

// lookTime is how long a command waits for the answers of all hosts.
const lookTime = 20 * time.Second

func (c *command) look(ctx context.Context) *fleet.View {
	return fleet.Look(ctx, c.fleet.App, c.hosts, c.ssh, lookTime)
}

func (c *command) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show what runs on each host, and whether they differ",
		UsageText: "superctl @ENV status [--json]",
		Description: `Shows one line for each host. The exit code is 0 if all hosts run the same release, 6 if they
differ, and 3 if a host cannot be reached.

   superctl @production status
   superctl @production:web2 exec superctl status    everything about one host`,
		Flags: []cli.Flag{commandline.JSONFlag(), commandline.WideFlag()},
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			return c.showView(cc, c.look(ctx))
		}),
	}
}

// showView prints what the hosts run, and returns the error that sets the exit code.
func (c *command) showView(cc *cli.Context, v *fleet.View) error {
	return c.report(cc, v, v.Exit, func() { c.show(v) })
}

// report prints what a command has found out or done, as JSON or with show, and returns the error
// that sets the exit code.
func (c *command) report(cc *cli.Context, out any, exit int, show func()) error {
	if cc.Bool("json") {
		if err := terminal.WriteJSON(c.stdout, out); err != nil {
			return err
		}
	} else {
		show()
	}
	if exit != 0 {
		return &commandline.ExitError{Code: exit}
	}
	return nil
}

// show prints a line for each host, and how they differ.
func (c *command) show(v *fleet.View) {
	p := terminal.PaletteFor(c.stdout)
	c.hostTable(v, p).Write(c.stdout, "  ")
	c.showDifference(v, p)
}

// hostTable returns the table of the hosts.
func (c *command) hostTable(v *fleet.View, p terminal.Palette) *terminal.Table {
	var t terminal.Table
	t.Head(p, "HOST", "RELEASE", "HEALTH", "SINCE", "BY", "NOTE")
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if h.Error != "" {
			t.Row(h.Host, "-", p.Red("unknown"), "-", "-", h.Error)
			continue
		}
		note := h.Changing
		switch {
		case h.Behind:
			note = p.Yellow("behind")
		case note == "" && h.TakenBack:
			note = "taken back"
		case note == "":
			note = h.Reason
		}
		t.Row(h.Host, terminal.Dash(h.Release), p.Health(h.Health, h.Health), terminal.Age(c.now(), h.Since), terminal.Dash(h.By), note)
	}
	return &t
}

// showDifference prints how the hosts differ, and what makes them equal.
func (c *command) showDifference(v *fleet.View, p terminal.Palette) {
	app := c.app()
	if on, off := v.InMaintenance(); len(on) > 0 && len(off) > 0 {
		fmt.Fprintf(c.stdout, "%s: users %s on %s and reach the app on %s; maintenance on or off makes them equal\n", app,
			p.Yellow("get the maintenance page"), strings.Join(on, ", "), strings.Join(off, ", "))
	}
	switch {
	case v.Mix != "":
		fmt.Fprintf(c.stdout, "%s: %s: %s\nfinish makes %s live on all hosts, back takes it back\n", app,
			p.Yellow("the hosts run different releases"), v.Mix, v.Release)
	case v.Exit != 0:
		fmt.Fprintf(c.stdout, "%s: %s\n", app, p.Red("not all hosts can be reached"))
	default:
		fmt.Fprintf(c.stdout, "%s: %s on %s\n", app, p.Bold(terminal.Dash(v.Release)), hostCount(len(v.Hosts)))
	}
}

func (c *command) historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "show past changes of each host",
		UsageText: "superctl @ENV history [-n COUNT] [--json]",
		Description: `Shows the newest changes of each host. With --json it prints an object with the list of each host.

   superctl @production history -n 3`,
		Flags: []cli.Flag{
			commandline.JSONFlag(), &cli.IntFlag{Name: "n", Value: 5, Usage: "list the newest `COUNT` changes; 0 = all"},
		},
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			args := []string{"history", "-n", strconv.Itoa(cc.Int("n"))}
			if cc.Bool("json") {
				return c.jsonOfAll(ctx, append(args, "--json"))
			}
			return c.oneByOne(ctx, args)
		}),
	}
}

// oneByOne runs a command on all hosts at once, and prints what it wrote host by host.
func (c *command) oneByOne(ctx context.Context, args []string) error {
	outputs, errs := c.outputs(ctx, args)
	for i, host := range c.hosts {
		fmt.Fprintf(c.stdout, "%s\n%s", terminal.PaletteFor(c.stdout).Bold(host), outputs[i])
	}
	return c.worst(ctx, errs)
}

// outputs runs a command on all hosts at once, and returns what it wrote on each, and how it ended.
func (c *command) outputs(ctx context.Context, args []string) (outputs [][]byte, errs []error) {
	outputs = make([][]byte, len(c.hosts))
	errs = c.onEach(func(i int, host string) error {
		var out bytes.Buffer
		err := c.ssh.Run(ctx, host, fleet.Call{Args: args, Stdout: &out, Deaf: true})
		outputs[i] = out.Bytes()
		return err
	})
	return outputs, errs
}

// onEach calls f for all hosts at once, and returns its errors in the order of the hosts.
func (c *command) onEach(f func(i int, host string) error) []error {
	errs := make([]error, len(c.hosts))
	var done sync.WaitGroup
	for i, host := range c.hosts {
		done.Go(func() { errs[i] = f(i, host) })
	}
	done.Wait()
	return errs
}

// worst returns the error that sets the exit code, and prints those of hosts that were not reached.
func (c *command) worst(ctx context.Context, errs []error) error {
	code, interrupted := 0, ctx.Err() != nil
	for i, err := range errs {
		var exit *fleet.ExitError
		switch {
		case err == nil, interrupted:
		case errors.As(err, &exit):
			code = max(code, exit.Code)
			if exit.Stderr != "" {
				fmt.Fprintf(c.stderr, "superctl: %s: %v\n", c.hosts[i], err)
			}
		default:
			fmt.Fprintf(c.stderr, "superctl: %s: %v\n", c.hosts[i], err)
			code = max(code, api.ExitUnreachable)
		}
	}
	if code != 0 {
		return &commandline.ExitError{Code: code}
	}
	return nil
}

// jsonOfAll runs a command that prints JSON on all hosts, and prints an object with the value of
// each host.
func (c *command) jsonOfAll(ctx context.Context, args []string) error {
	outputs, errs := c.outputs(ctx, args)
	values := make(map[string]json.RawMessage)
	for i, host := range c.hosts {
		if json.Valid(outputs[i]) {
			values[host] = outputs[i]
		}
	}
	return errors.Join(terminal.WriteJSON(c.stdout, values), c.worst(ctx, errs))
}

func (c *command) lockCommand() *cli.Command {
	return &cli.Command{
		Name: "lock", Usage: "refuse other changes on all hosts, until Ctrl-C",
		UsageText: "superctl @ENV lock --why TEXT [--json]",
		Description: `Locks every host. Meanwhile other changes and runs are refused, with a message that names the operator
and the reason. The lock ends with this command.

   superctl @production lock --why "moving the database"`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "why", Usage: "the reason; other operators see this `TEXT`", Required: true}, commandline.JSONFlag(),
		},
		Action: c.action(0, 0, func(ctx context.Context, cc *cli.Context) error {
			plan, err := c.complete(cc, fleet.Plan{Why: cc.String("why")})
			if err != nil {
				return err
			}
			return fleet.Hold(ctx, plan, c.ssh, fleet.Limits{}, func() {
				if cc.Bool("json") {
					_ = writeLine(c.stdout, map[string]any{"locked": true, "run": plan.Run, "hosts": c.hosts})
					return
				}
				fmt.Fprintf(c.stderr, "%s: locked on %s, until Ctrl-C\n", c.app(), hostCount(len(c.hosts)))
			})
		}),
	}
}

// dryRun shows what a run would do.
func (c *command) dryRun(ctx context.Context, cc *cli.Context, plan fleet.Plan) error {
	plan, err := c.complete(cc, plan)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d := fleet.Rehearse(ctx, plan, c.ssh)
	return c.report(cc, d, d.Exit, func() { c.showRehearsal(d) })
}

func (c *command) showRehearsal(d *fleet.Rehearsal) {
	app := c.app()
	p := terminal.PaletteFor(c.stdout)
	var t terminal.Table
	t.Head(p, "HOST", "LIVE", "WOULD BE", "NOTE")
	for _, h := range d.Hosts {
		note := h.Refused
		if note != "" {
			note = p.Red("refused: ") + note
		} else if h.Install {
			note = "the bundle would be sent and installed"
		}
		t.Row(h.Host, terminal.Dash(h.Live), terminal.Dash(h.Release), note)
	}
	t.Write(c.stdout, "  ")
	switch {
	case d.Exit != 0:
		fmt.Fprintf(c.stdout, "%s: the run %s; nothing was changed\n", app, p.Red("would be refused"))
	case !d.Changed:
		fmt.Fprintf(c.stdout, "%s: nothing to do\n", app)
	default:
		fmt.Fprintf(c.stdout, "%s: nothing was changed (--dry-run)\n", app)
	}
}
