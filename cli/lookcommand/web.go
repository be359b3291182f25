//go:build linux

package lookcommand

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/daemon"
	"superctl/host"
	"superctl/web"
)

// webAddress is where the page is served unless --listen says otherwise.
const webAddress = "127.0.0.1:9180"

// Web is the command superctl web.
func Web(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "web", Usage: "serve a page that shows all apps of this host",
		UsageText: "superctl web [--listen ADDRESS]",
		Description: `Serves a page that shows what is live, requests, errors and latency of the old and the new release,
and the history with reasons, until it is stopped. The page is updated every second and can change
nothing. The daemons are asked only while a page is open. It listens on a loopback address or a unix
socket, and has no password: on 127.0.0.1 every user of this host can see it. The unit superctl-web
serves it on a socket for nginx.

   superctl web                                          http://127.0.0.1:9180
   superctl web --listen unix:/run/superctl-web/web.sock
   ssh -t -L 9180:127.0.0.1:9180 root@web1 superctl web  from your own machine`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: webAddress, Usage: "serve on `ADDRESS`: HOST:PORT of a loopback address, or unix:PATH"},
		},
		Action: c.web,
	}
}

func (c *command) web(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	if cc.IsSet("app") || cc.IsSet("config") {
		return commandline.Usagef("web shows all apps of this host: leave --app and --config out")
	}
	address, err := web.ParseAddress(cc.String("listen"))
	if err != nil {
		return commandline.Usagef("web: --listen %w", err)
	}
	address.InUse = daemon.ListenerOn
	ctx, stop := commandline.Interruptible()
	defer stop()
	source := web.Source{Measure: host.Measure, History: host.History}
	return web.Serve(ctx, address, source, func(at string) {
		if strings.HasPrefix(at, "/") {
			at = "unix:" + at
		} else {
			at = "http://" + at
		}
		fmt.Fprintf(c.Stderr, "superctl: web on %s\n", at)
	})
}
