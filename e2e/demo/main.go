// Demo shows what superctl is for, on this machine, in about half a minute: it switches a small
// Django site between good and broken releases while clients use it, and counts every request. It
// exits 1 if one was lost.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

func main() {
	harness.Guardian()
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{ctx: ctx}
	began := time.Now()
	r, err := harness.NewRun("--demo")
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	d.step(began, "build superctl, install gunicorn and Django")
	ok := d.play(r)
	if err := r.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		ok = false
	}
	if !ok {
		return 1
	}
	return 0
}

// demo is one showing. It is the harness's T, so that whatever the harness finds wrong ends it.
type demo struct {
	ctx      context.Context //nolint:containedctx // the lifetime of the program
	app      *harness.App
	failed   bool
	cleanups []func()
	cutovers []string
}

// over is the panic of Fatalf.
type over struct{}

func (d *demo) play(r *harness.Run) (ok bool) {
	defer func() {
		for len(d.cleanups) > 0 {
			last := d.cleanups[len(d.cleanups)-1]
			d.cleanups = d.cleanups[:len(d.cleanups)-1]
			last()
		}
		ok = ok && !d.failed
	}()
	defer func() {
		if p := recover(); p != nil {
			if _, meant := p.(over); !meant {
				panic(p)
			}
		}
	}()
	return d.scenes(r)
}

func (d *demo) scenes(r *harness.Run) bool {
	began := time.Now()
	a := harness.New(d, r, harness.Options{
		Server: harness.GunicornThreads(), Top: "probation = \"2s\"\nstandby = \"5m\"\n", Web: `start_timeout = "4s"`,
	})
	d.app = a
	a.Release("monday", apps.Behaviour{ImportSeconds: 1})
	a.Release("tuesday", apps.Behaviour{ImportSeconds: 1})
	a.Release("import-error", apps.Behaviour{Fault: apps.ImportError})
	a.Release("answers-500", apps.Behaviour{Fault: apps.Error500})
	d.step(began, "make four releases, two good and two broken")

	began = time.Now()
	a.Start("monday")
	clients := a.Load(load.Config{Clients: 8, Rate: 200})
	d.step(began, "start the daemon with release monday, then 200 requests/s by 8 clients")

	d.try("switch", "tuesday")
	d.try("switch", "monday")
	d.try("switch", "import-error")
	d.try("switch", "answers-500")
	d.try("switch", "tuesday")
	d.try("rollback")
	a.More(clients, 100)

	res := clients.Stop()
	d.summary(res)
	return len(res.Failed()) == 0 && !res.LimitReached
}

// try runs one command of superctl and prints its outcome.
func (d *demo) try(args ...string) {
	if d.ctx.Err() != nil {
		d.Fatalf("interrupted")
	}
	began := time.Now()
	out := d.app.Command(append(args, "--json")...).Outcome()
	outcome, reason := fmt.Sprintf("done: %s is live", out.Release), ""
	switch out.Result {
	case "done":
		for _, s := range out.Steps {
			if s.Name == "cutover" {
				d.cutovers = append(d.cutovers, s.Detail)
			}
		}
	case "aborted":
		outcome, reason = fmt.Sprintf("refused: %s is still live", out.Previous), first(out.Error)
	case "reverted":
		outcome, reason = fmt.Sprintf("reverted: %s is live again", out.Previous), first(out.Error)
	}
	d.step(began, fmt.Sprintf("%-30s %s", "$ superctl "+strings.Join(args, " "), outcome))
	if reason != "" {
		fmt.Printf("%10s%s\n", "", reason)
	}
}

// step prints one line: how long the step took, and what it was.
func (d *demo) step(began time.Time, what string) {
	fmt.Printf("%6.1f s  %s\n", time.Since(began).Seconds(), what)
}

// first is the first line of an error, short enough for a terminal.
func first(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 70 {
		text = text[:67] + "..."
	}
	return text
}

func (d *demo) summary(res *load.Result) {
	latency, failed := res.Latency(), len(res.Failed())
	fmt.Printf(
		"\n%d requests in %.0f s, during 6 changes: %d failed\n", len(res.Records), res.Ended.Sub(res.Began).Seconds(),
		failed,
	)
	fmt.Printf("slowest answer %d ms, median %.1f ms; cutovers: %s\n",
		latency.Max.Milliseconds(), float64(latency.P50.Microseconds())/1000, strings.Join(d.cutovers, ", "))
	if failed > 0 {
		fmt.Println(res)
	}
}

// What follows makes demo a harness.T.

// Helper is for tests.
func (d *demo) Helper() {}

// Name names the showing.
func (d *demo) Name() string { return "demo" }

// Logf prints nothing: the summary says it.
func (d *demo) Logf(string, ...any) {}

// Errorf prints what is wrong.
func (d *demo) Errorf(format string, args ...any) {
	d.failed = true
	fmt.Fprintln(os.Stderr, "demo:", fmt.Errorf(format, args...))
}

// Fatalf prints what is wrong and ends the showing.
func (d *demo) Fatalf(format string, args ...any) {
	d.Errorf(format, args...)
	panic(over{})
}

// Cleanup is run at the end, the newest first.
func (d *demo) Cleanup(f func()) { d.cleanups = append(d.cleanups, f) }

// Failed reports whether anything was wrong.
func (d *demo) Failed() bool { return d.failed }

var _ harness.T = (*demo)(nil)
