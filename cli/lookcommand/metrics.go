//go:build linux

package lookcommand

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/daemon"
	"superctl/host"
	"superctl/metrics"
)

// Metrics is the command superctl metrics.
func Metrics(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "metrics", Usage: "print or serve metrics of all apps, for Prometheus",
		UsageText: "superctl metrics [--listen ADDRESS]",
		Description: `Prints the metrics of all apps of this host in the text format of Prometheus. With --listen it serves
them at /metrics until it is stopped, also as OpenMetrics. It asks the daemons at each scrape. The unit
superctl-metrics runs it.

   superctl metrics
   superctl metrics --listen 127.0.0.1:9797
   superctl metrics --listen unix:/run/superctl-metrics.sock`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "serve on `ADDRESS`: HOST:PORT, or unix:PATH"},
		},
		Action: c.metrics,
	}
}

func (c *command) metrics(cc *cli.Context) error {
	if err := commandline.Arguments(cc, 0, 0); err != nil {
		return err
	}
	if cc.IsSet("app") || cc.IsSet("config") {
		return commandline.Usagef("metrics has all apps of this host: leave --app and --config out")
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	if !cc.IsSet("listen") {
		return metrics.Write(c.Stdout, host.Measure)
	}
	address, err := metrics.ParseAddress(cc.String("listen"))
	if err != nil {
		return commandline.Usagef("metrics: --listen %w", err)
	}
	address.InUse = daemon.ListenerOn
	return metrics.Serve(ctx, address, metrics.Handler(host.Measure), func(at string) {
		fmt.Fprintf(c.Stderr, "superctl: metrics on %s\n", at)
	})
}
