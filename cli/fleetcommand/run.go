package fleetcommand

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/terminal"
	"superctl/fleet"
)

// run carries out a plan with fleet.Do or fleet.Maintain, and shows its progress and its outcome.
func (c *command) run(
	ctx context.Context, cc *cli.Context, plan fleet.Plan,
	do func(context.Context, fleet.Plan, fleet.Transport, fleet.Limits, func(fleet.Progress)) *fleet.Result,
	show func(*fleet.Result),
) error {
	plan, err := c.complete(cc, plan)
	if err != nil {
		return err
	}
	b := c.board(cc, plan.Hosts)
	res := do(ctx, plan, c.ssh, fleet.Limits{}, b.news)
	b.end()
	return c.report(cc, res, res.Exit, func() { show(res) })
}

// complete fills in what the plans of all commands have: who runs them, on which hosts.
func (c *command) complete(cc *cli.Context, plan fleet.Plan) (fleet.Plan, error) {
	left, err := c.without(cc)
	if err != nil {
		return plan, err
	}
	plan.Run, plan.By, plan.App, plan.Env = newRun(c.now()), operator(), c.fleet.App, c.fleet.Name
	plan.Hosts, plan.Without, plan.Canary = c.hosts, left, c.canary()
	return plan, nil
}

func (c *command) showWarnings(p terminal.Palette, res *fleet.Result) {
	for _, w := range res.Warnings {
		fmt.Fprintf(c.stdout, "%s %s\n", p.Yellow("warning:"), w)
	}
}

// showHosts prints how a run ended on each host, if it has not done all.
func (c *command) showHosts(p terminal.Palette, res *fleet.Result) {
	if res.Exit == api.ExitDone {
		return
	}
	var t terminal.Table
	t.Head(p, "HOST", "STATE", "RELEASE", "REASON")
	for _, h := range res.Hosts {
		t.Row(h.Host, stateText(p, h.State), terminal.Dash(h.Release), h.Error)
	}
	t.Write(c.stdout, "  ")
}
