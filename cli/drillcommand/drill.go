//go:build linux

package drillcommand

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/drill"
)

// Drill is the command superctl drill.
func Drill(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "drill", Usage: "test on this machine that changes of the app lose no request",
		UsageText: "superctl drill [--path PATH]... [--switches N] [--keep-alive] [--live] [--json] [--report FILE]",
		Description: `Sends a steady load to a copy of the app on a private address. Meanwhile it switches, rolls back and
reloads the copy, kills a worker and the daemon, upgrades the daemon and tries a broken release. The
report accounts for every request. The copy has the web processes and releases of the config, but
runs no hooks and no background processes. It needs the memory and the database connections of two
more generations. Exit code 1: a request was lost, or superctl broke a promise.

With --live, the drill changes the running app itself: hooks run and notifications are sent as for
any switch. Nothing is killed without --kills. At the end the release that is live now is live
again.

   superctl drill
   superctl drill --path / --path /search?q=x --post /echo --report drill.html
   superctl drill --live --via http://127.0.0.1 --keep-alive --switches 2     through nginx`,
		Flags: drillFlags(),
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.drill(cc)
		},
	}
}

func drillFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "path", Usage: "GET this `PATH`; repeatable (default: the path of the health check)",
		},
		&cli.StringSliceFlag{Name: "post", Usage: "POST 4 KB to this `PATH`; repeatable"},
		&cli.StringFlag{Name: "host", Usage: "the Host `HEADER` (default: that of the health check)"},
		&cli.StringFlag{Name: "process", Usage: "the `PROCESS` to test (default: the first with a listener)"},
		&cli.IntFlag{Name: "switches", Value: 3, Usage: "the number `N` of switches"},
		&cli.Float64Flag{
			Name: "rate", Value: 50,
			Usage: "send exactly `N` requests a second instead of as many as the site sustains, at most 50",
		},
		&cli.IntFlag{Name: "clients", Value: 8, Usage: "send at most `N` requests at once"},
		&cli.BoolFlag{Name: "keep-alive", Usage: "reuse connections, like browsers and some proxies"},
		&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "the longest `DURATION` of a request"},
		&cli.BoolFlag{Name: "live", Usage: "drill the running app instead of a copy"},
		&cli.StringFlag{Name: "via", Usage: "with --live: send the load through the proxy at `URL`"},
		&cli.BoolFlag{Name: "kills", Usage: "with --live: also kill a worker and the daemon"},
		&cli.BoolFlag{Name: "yes", Usage: "with --live: do not ask for confirmation"},
		&cli.StringFlag{Name: "log", Usage: "write the log of the copy to `FILE`"},
		&cli.StringFlag{Name: "report", Usage: "write an HTML report with a plot to `FILE`"},
		commandline.JSONFlag(),
	}
}

func (c *command) drill(cc *cli.Context) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	opt, err := drillOptions(ctx, cc)
	if err != nil {
		return err
	}
	page, err := createPage(cc.String("report"))
	if err != nil {
		return err
	}
	defer page.Cleanup()
	if opt.Live && !cc.Bool("yes") {
		if err := c.confirmLive(cc.App.Reader, opt); err != nil {
			return err
		}
	}
	show := c.Progress(cc)
	opt.Show = showDrill(show)
	rep, err := drill.Run(ctx, opt)
	show.End()
	if err != nil {
		return c.print().drillError(ctx, err)
	}
	if page.PendingFile != nil {
		if err := errors.Join(rep.WritePage(page), page.Chmod(0o644), page.CloseAtomicallyReplace()); err != nil {
			return fmt.Errorf("drill: write %s: %w", cc.String("report"), err)
		}
	}
	result := api.Done
	if !rep.OK {
		result = api.Aborted
	}
	return c.Conclude(cc, rep, result, "the drill has passed", func() { c.print().drill(rep) })
}

// drillError returns the error of a drill that has no report.
func (pr printer) drillError(ctx context.Context, err error) error {
	var failed *drill.StartError
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return errors.New("drill: interrupted; the drill was cleaned up")
	}
	if errors.As(err, &failed) && len(failed.Log) > 0 {
		fmt.Fprintln(pr.Stderr, "the last lines of the copy:")
		for _, l := range failed.Log {
			fmt.Fprintf(pr.Stderr, "  | %s\n", l)
		}
	}
	return fmt.Errorf("drill: %w", err)
}

// pendingPage is the HTML report until it is complete; its file is nil without --report.
type pendingPage struct{ *renameio.PendingFile }

// Cleanup removes an incomplete page.
func (p pendingPage) Cleanup() error {
	if p.PendingFile == nil {
		return nil
	}
	return p.PendingFile.Cleanup()
}

// createPage creates the file of the report before the drill, so that a wrong path fails early.
func createPage(path string) (pendingPage, error) {
	if path == "" {
		return pendingPage{}, nil
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return pendingPage{}, commandline.Usagef("drill: --report %s cannot be written: %w", path, err)
	}
	return pendingPage{f}, nil
}

// confirmLive asks for confirmation of a drill of the live site.
func (c *command) confirmLive(stdin io.Reader, opt drill.Options) error {
	if !terminal.Is(c.Stderr) || !readsTerminal(stdin) {
		return &commandline.UsageError{Err: errors.New(
			"drill: --live changes the running app, and there is no terminal to ask for confirmation: add --yes",
		)}
	}
	what := fmt.Sprintf("%d reloads", opt.Switches+1)
	if len(opt.Releases) > 1 {
		what = fmt.Sprintf(
			"%d switches between %s and %s, a rollback, a reload", opt.Switches, opt.Releases[0].Name,
			opt.Releases[1].Name,
		)
	}
	if opt.Kills {
		what += ", kill -9 of a worker and of the daemon"
	}
	fmt.Fprintf(
		c.Stderr,
		"This runs against the LIVE site %s: %s, an upgrade of the daemon; up to %g requests a second to %s meanwhile.\n"+
			"Hooks run and notifications are sent. Continue? [y/N] ",
		opt.Config.App, what, opt.Load.Rate, opt.Target,
	)
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
		return errors.New("drill: not confirmed; nothing was started")
	}
	return nil
}

func readsTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && terminal.Is(f)
}
