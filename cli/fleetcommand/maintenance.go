package fleetcommand

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/fleet"
)

func (c *command) maintenanceCommand() *cli.Command {
	return &cli.Command{
		Name: "maintenance", Usage: "show users of all hosts a maintenance page",
		UsageText: "superctl @ENV maintenance on|off [--page FILE] [--retry-after DURATION] [--allow NETWORKS] " +
			"[--without HOST] [--json]",
		Description: `With on, users get a page with the status 503 from all hosts, until off. superctl maintenance --help
explains it for one host. FILE is a file of this machine: its text is sent to the hosts.

The hosts show the page, or end it, all at once. One that cannot be reached is named, and does not
keep the others from it (exit code 3): run the same command again when the host is back. If another
change or run has a host, no host changes (exit code 4).

   superctl @production maintenance on --page maintenance.html
   superctl @production deploy shop-1.2.tar.zst    behind the page
   superctl @production maintenance off`,
		Flags: slices.Concat(commandline.MaintenanceFlags(), []cli.Flag{
			&cli.StringSliceFlag{Name: "without", Usage: "leave out this `HOST`"}, commandline.JSONFlag(),
		}),
		Action: c.action(1, 1, func(ctx context.Context, cc *cli.Context) error {
			page, err := commandline.MaintenancePage(cc)
			if err != nil {
				return commandline.Usagef("maintenance: %w", err)
			}
			return c.run(ctx, cc, fleet.Plan{Why: "maintenance " + cc.Args().First(), Page: page}, fleet.Maintain, c.showMaintenance)
		}),
	}
}

// showMaintenance prints what the users of all hosts get after a run of maintenance.
func (c *command) showMaintenance(res *fleet.Result) {
	p := terminal.PaletteFor(c.stdout)
	c.showWarnings(p, res)
	hosts := make(map[fleet.State][]string)
	for _, h := range res.Hosts {
		hosts[h.State] = append(hosts[h.State], h.Host)
	}
	c.showHosts(p, res)
	on, done := res.Maintenance == api.MaintenanceOn, hosts[fleet.Done]
	what := p.Green("reach") + " the app again"
	if on {
		what = p.Yellow("get the maintenance page")
	}
	switch {
	case len(done) == 0:
		fmt.Fprintf(c.stdout, "%s: maintenance %s %s: %s\n%s\n", c.app(), res.Maintenance, p.Red("was refused"), res.Error,
			unchangedText(hosts[fleet.Unknown]))
	case res.Exit == api.ExitDone && !res.Changed:
		fmt.Fprintf(c.stdout, "%s: maintenance is %s already on %s; nothing to do\n", c.app(), res.Maintenance, hostCount(len(done)))
	case res.Exit != api.ExitDone:
		fmt.Fprintf(c.stdout, "%s: users %s on %s, but %s\n", c.app(), what, strings.Join(done, ", "), p.Yellow(notText(hosts)))
	case on:
		fmt.Fprintf(c.stdout, "%s: users %s on %s, in %s; superctl %s maintenance off ends it\n", c.app(), what,
			hostCount(len(done)), terminal.Seconds(res.Seconds), c.target)
	default:
		fmt.Fprintf(c.stdout, "%s: users %s on %s, in %s\n", c.app(), what, hostCount(len(done)), terminal.Seconds(res.Seconds))
	}
}

// unchangedText says which hosts are as before, if no host has done what it was told.
func unchangedText(unknown []string) string {
	if len(unknown) > 0 {
		return "what users of " + strings.Join(unknown, ", ") + " get is unknown; status shows it once the host can be reached"
	}
	return "no host has changed"
}

// notText names the hosts that have not done what others have, and the next step.
func notText(hosts map[fleet.State][]string) string {
	var parts []string
	if not := slices.Concat(hosts[fleet.Refused], hosts[fleet.Behind]); len(not) > 0 {
		parts = append(parts, "not on "+strings.Join(not, ", "))
	}
	if unknown := hosts[fleet.Unknown]; len(unknown) > 0 {
		parts = append(parts, "maybe not on "+strings.Join(unknown, ", "))
	}
	return strings.Join(parts, ", ") + ": run the same command again"
}
