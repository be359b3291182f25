package cli

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
	"superctl/drill"
)

func (c *command) drillCommand() *cli.Command {
	return &cli.Command{
		Name: "drill", Usage: "prove on this app and machine that no request is lost",
		UsageText: "superctl drill [--path PATH]... [--switches N] [--keep-alive] [--live] [--json] [--report FILE]",
		Description: `Sends a steady load to a copy of the app on a private address, and meanwhile switches, rolls back and reloads it, kills a
worker and the daemon, upgrades the daemon and tries a broken release. Then it says what became of every request.
The copy has the config's web processes and releases, but runs no hooks and nothing in the background; it needs the memory and the
database connections of two generations more. Exit code 1: a request was lost, or a promise broken.

With --live it is the app that runs which is drilled. Then hooks run and messages are sent as for any switch, nothing is
killed without --kills, and the release that is live now is live in the end.

   superctl drill
   superctl drill --path / --path /search?q=x --post /echo --report drill.html
   superctl drill --live --via http://127.0.0.1 --keep-alive --switches 2     through nginx`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "path", Usage: "GET this `PATH`; again for more (default: the health check's)"},
			&cli.StringSliceFlag{Name: "post", Usage: "POST 4 KB to this `PATH`, too; again for more"},
			&cli.StringFlag{Name: "host", Usage: "the Host `HEADER` (default: the health check's)"},
			&cli.StringFlag{Name: "process", Usage: "the `PROCESS` that answers (default: the first with a listener)"},
			&cli.IntFlag{Name: "switches", Value: 3, Usage: "how many switches, `N`"},
			&cli.Float64Flag{
				Name: "rate", Value: 50,
				Usage: "exactly `N` requests a second; by default at most so many, as the site serves steadily",
			},
			&cli.IntFlag{Name: "clients", Value: 8, Usage: "at most `N` requests at once"},
			&cli.BoolFlag{Name: "keep-alive", Usage: "clients keep their connections, as browsers and some proxies do"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "how `LONG` a request may take"},
			&cli.BoolFlag{Name: "live", Usage: "drill the app that runs"},
			&cli.StringFlag{Name: "via", Usage: "with --live: send the load to the server in front, at `URL`"},
			&cli.BoolFlag{Name: "kills", Usage: "with --live: kill a worker and the daemon, too"},
			&cli.BoolFlag{Name: "yes", Usage: "with --live: do not ask"},
			&cli.StringFlag{Name: "log", Usage: "write what the copy says to `FILE`"},
			&cli.StringFlag{Name: "report", Usage: "write an HTML page with a plot to `FILE`"},
			jsonFlag(),
		},
		Action: func(cc *cli.Context) error {
			if err := arguments(cc, 0, 0); err != nil {
				return err
			}
			return c.drill(cc)
		},
	}
}

func (c *command) drill(cc *cli.Context) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	opt, err := drillOptions(ctx, cc)
	if err != nil {
		return err
	}
	page, err := pageFile(cc.String("report"))
	if err != nil {
		return err
	}
	defer page.Cleanup()
	if opt.Live && !cc.Bool("yes") {
		if err := c.askFirst(cc.App.Reader, opt); err != nil {
			return err
		}
	}
	show := c.progress(cc)
	opt.Show = show.drill
	rep, err := drill.Run(ctx, opt)
	show.end()
	if err != nil {
		return c.notDrilled(ctx, err)
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
	return c.conclude(cc, rep, result, func() { c.tellDrill(rep) })
}

// notDrilled says why there is no report.
func (c *command) notDrilled(ctx context.Context, err error) error {
	var not *drill.NotBegunError
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return errors.New("drill: interrupted; what it had begun is ended")
	}
	if errors.As(err, &not) && len(not.Log) > 0 {
		fmt.Fprintln(c.stderr, "its last lines:")
		for _, l := range not.Log {
			fmt.Fprintf(c.stderr, "  | %s\n", l)
		}
	}
	return fmt.Errorf("drill: %w", err)
}

// pendingPage is the HTML page to be, if one is wanted.
type pendingPage struct{ *renameio.PendingFile }

// Cleanup removes a page that was not finished.
func (p pendingPage) Cleanup() error {
	if p.PendingFile == nil {
		return nil
	}
	return p.PendingFile.Cleanup()
}

// pageFile makes the file of the page before the drill, so that a wrong path is not found out after
// it.
func pageFile(path string) (pendingPage, error) {
	if path == "" {
		return pendingPage{}, nil
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return pendingPage{}, &usageError{fmt.Errorf("drill: --report %s cannot be written: %w", path, err)}
	}
	return pendingPage{f}, nil
}

// askFirst has a person agree to a drill of the app that runs.
func (c *command) askFirst(stdin io.Reader, opt drill.Options) error {
	if !isTerminal(c.stderr) || !readsTerminal(stdin) {
		return &usageError{errors.New("drill: --live does things to the app that runs: add --yes, where nobody can be asked")}
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
	fmt.Fprintf(c.stderr, "%s, which runs and has users: %s, an upgrade of the daemon; hooks and messages as ever; up to %g requests a second to %s meanwhile.\nGo on? [y/N] ",
		opt.Config.App, what, opt.Load.Rate, opt.Target)
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
		return errors.New("drill: not begun")
	}
	return nil
}

func readsTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isTerminal(f)
}
