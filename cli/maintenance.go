//go:build linux

package cli

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/config"
)

func maintenanceCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "maintenance", Usage: "show users a maintenance page",
		UsageText: "superctl maintenance on|off [--page FILE] [--retry-after DURATION] [--allow NETWORKS] " +
			"[--run ID [--by NAME] [--follower]] [--json]",
		Description: `With on, all new connections get a page with the status 503 and Retry-After, until off. The live
release stays ready behind the page: superctl switch, rollback and reload work as ever, and users see
the result after off. Background processes go on; superctl pause stops one.

off first checks that the live release answers. If it does not, the page stays.

Maintenance outlives restarts of the daemon and of the machine.

   superctl maintenance on
   superctl maintenance on --page /srv/shop/maintenance.html --retry-after 30m
   superctl maintenance on --allow 203.0.113.0/24    these clients reach the app; not behind nginx
   superctl maintenance off`,
		Flags: slices.Concat(commandline.MaintenanceFlags(), runFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "follower", Usage: "send no notification: another host of the run does"}, commandline.JSONFlag(),
			&cli.StringFlag{Name: commandline.PageSumFlag, Hidden: true},
		}),
		Action: c.maintenance,
	}
}

func (c *command) maintenance(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 1, 1); err != nil {
		return err
	}
	req, err := changeRequest(cc, api.Maintenance)
	if err != nil {
		return err
	}
	if req.Maintenance, err = commandline.MaintenancePage(cc); err != nil {
		return commandline.Usagef("maintenance: %w", err)
	}
	if err := c.warnOfProxies(cc, req.Maintenance); err != nil {
		return err
	}
	return c.change(cc, req)
}

// warnOfProxies warns of networks that do not tell the clients apart as they should.
func (c *command) warnOfProxies(cc *cli.Context, page *api.MaintenancePage) error {
	if page == nil || len(page.Allow) == 0 {
		return nil
	}
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	for _, text := range allowWarnings(page.Allow, conf.Listen) {
		terminal.Prose(c.Stderr, "%s %s", terminal.PaletteFor(c.Stderr).Yellow("warning:"), text)
	}
	return nil
}

// allowWarnings returns a warning for each network that matches no client or all of them: behind a proxy
// of this host every client has the proxy's address, and an IPv4 listener has no IPv6 clients.
func allowWarnings(allow []netip.Prefix, listen []config.Listen) (texts []string) {
	const nginx = "Behind nginx each connection comes from nginx"
	const advice = "let nginx choose (docs/maintenance.md)"
	proxied := !slices.ContainsFunc(listen, reachedDirectly)
	local := slices.ContainsFunc(allow, func(n netip.Prefix) bool { return n.Addr().Unmap().IsLoopback() })
	for _, n := range allow {
		v6 := n.Addr().Is6() && !n.Addr().Is4In6()
		switch {
		case v6 && !slices.ContainsFunc(listen, takesIPv6):
			texts = append(texts, fmt.Sprintf("--allow %s matches no client: no listener has an IPv6 address", n))
		case !proxied:
		case n.Contains(netip.AddrFrom4([4]byte{127, 0, 0, 1})), n.Contains(netip.IPv6Loopback()):
			texts = append(texts, fmt.Sprintf("all listeners are on loopback addresses. %s, so --allow %s lets all clients of nginx "+
				"reach the app: %s", nginx, n, advice))
		case !local:
			texts = append(texts, fmt.Sprintf("all listeners are on loopback addresses. %s, so --allow %s matches no client: %s",
				nginx, n, advice))
		}
	}
	return texts
}

// takesIPv6 reports whether a listener may have IPv6 clients.
func takesIPv6(l config.Listen) bool {
	at, err := netip.ParseAddrPort(l.Address.String())
	return err != nil || at.Addr().Is6()
}

// reachedDirectly reports whether clients of other machines may connect to a listener themselves.
func reachedDirectly(l config.Listen) bool {
	at, err := netip.ParseAddrPort(l.Address.String())
	return err != nil || !at.Addr().IsLoopback()
}

// maintenance prints the outcome of a maintenance change.
func (pr printer) maintenance(app string, out *api.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	switch on := out.Maintenance == api.MaintenanceOn; {
	case out.Result != api.Done && on:
		terminal.Prose(pr.Stdout, "%s: the maintenance page %s: %s\nusers still reach %s", app, p.Red("is not shown"), out.Error, out.Previous)
	case out.Result != api.Done:
		terminal.Prose(pr.Stdout, "%s: the maintenance page %s: %s\nsuperctl logs shows what %s writes", app, p.Red("stays"), out.Error, out.Previous)
	case !out.Changed:
		terminal.Prose(pr.Stdout, "%s: maintenance is %s already; nothing to do", app, out.Maintenance)
	case on:
		terminal.Prose(pr.Stdout, "%s: users %s, in %s%s; superctl maintenance off ends it", app,
			p.Yellow("get the maintenance page"), terminal.Seconds(out.Seconds), cutoverText(out))
	default:
		terminal.Prose(pr.Stdout, "%s: users %s %s again, in %s%s", app, p.Green("reach"),
			terminal.WithCommit(out.Release, out.Commit), terminal.Seconds(out.Seconds), cutoverText(out))
	}
}
