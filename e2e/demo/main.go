// Demo shows what superctl is for, on this machine, in about half a minute: a small Django site is switched between good
// and broken releases while clients use it, and every request is counted. It exits 1 if one was lost.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

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
	fmt.Println("Building superctl; the first time, gunicorn and Django are installed into a cache as well ...")
	r, err := harness.NewRun()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	d := &demo{ctx: ctx}
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
	rows     []row
}

// row is one line of the summary.
type row struct{ did, result, cutover string }

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
	d.say("Making four releases of a Django site, each with its own virtualenv: two good, two broken ...")
	a := harness.New(d, r, harness.Options{Server: harness.GunicornThreads(), Top: "probation = \"2s\"\nstandby = \"5m\"\n"})
	d.app = a
	a.Release("2026-11-02-good", apps.Behaviour{ImportSeconds: 1})
	a.Release("2026-11-09-good", apps.Behaviour{ImportSeconds: 1})
	a.Release("2026-11-16-import-error", apps.Behaviour{Fault: apps.ImportError})
	a.Release("2026-11-23-answers-500", apps.Behaviour{Fault: apps.Error500})
	a.Options.Web = `start_timeout = "4s"`
	a.WriteConfig()

	d.say("Starting the daemon and the first release, then 8 clients that never pause: GET and POST, a new connection each.\n")
	a.Start("2026-11-02-good")
	clients := a.Load(load.Config{Clients: 8, Rate: 200})

	d.try("switch to a good release", "switch", "2026-11-09-good")
	d.try("switch back", "switch", "2026-11-02-good")
	d.try("switch to a release that cannot be imported", "switch", "2026-11-16-import-error")
	d.try("switch to a release that answers 500", "switch", "2026-11-23-answers-500")
	d.try("switch to the good release again", "switch", "2026-11-09-good")
	d.try("roll back: the old release is still warm", "rollback")
	a.More(clients, 100)

	res := clients.Stop()
	d.summary(res)
	return len(res.Failed()) == 0 && !res.Exhausted
}

// try runs one command of superctl and remembers what became of it.
func (d *demo) try(what string, args ...string) {
	if d.ctx.Err() != nil {
		d.Fatalf("interrupted")
	}
	fmt.Printf("  %-46s $ superctl %s\n", what, strings.Join(args, " "))
	c := d.app.Command(append(args, "--json")...)
	out := c.Outcome()
	r := row{did: what}
	switch out.Result {
	case "done":
		r.result = fmt.Sprintf("%s live after %.1f s", out.Release, out.Seconds)
		for _, s := range out.Steps {
			if s.Name == "cutover" {
				r.cutover = s.Detail
			}
		}
	default:
		r.result = fmt.Sprintf("%s, %s stays live: %s", map[string]string{"aborted": "refused", "reverted": "reverted"}[out.Result], out.Previous, first(out.Error))
	}
	fmt.Printf("  %-46s   %s\n", "", r.result)
	d.rows = append(d.rows, r)
}

// first is the first sentence of an error, short enough for a line.
func first(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 110 {
		text = text[:107] + "..."
	}
	return text
}

func (d *demo) summary(res *load.Result) {
	lat := res.Latency()
	failed := len(res.Failed())
	fmt.Printf("\n%s\n", strings.Repeat("-", 78))
	fmt.Printf("  requests sent   %d in %.0f s, during %d changes\n", len(res.Records), res.Ended.Sub(res.Began).Seconds(), len(d.rows))
	fmt.Printf("  failed          %d\n", failed)
	fmt.Printf("  slowest         %d ms (half took less than %.1f ms)\n", lat.Max.Milliseconds(), float64(lat.P50.Microseconds())/1000)
	for _, r := range d.rows {
		if r.cutover != "" {
			fmt.Printf("  cutover         %-9s %s\n", r.cutover, r.did)
		}
	}
	for _, r := range d.rows {
		if r.cutover == "" {
			fmt.Printf("  broken release  %s\n", r.result)
		}
	}
	fmt.Println(strings.Repeat("-", 78))
	if failed > 0 {
		fmt.Printf("%s\n", res)
	}
}

func (d *demo) say(text string) { fmt.Println(text) }

// What follows makes demo a harness.T.

// Helper is for tests.
func (d *demo) Helper() {}

// Name names the showing.
func (d *demo) Name() string { return "demo" }

// Logf keeps quiet: the summary says it.
func (d *demo) Logf(string, ...any) {}

// Errorf tells what is wrong.
func (d *demo) Errorf(format string, args ...any) {
	d.failed = true
	fmt.Fprintln(os.Stderr, "demo:", fmt.Errorf(format, args...))
}

// Fatalf tells what is wrong and ends the showing.
func (d *demo) Fatalf(format string, args ...any) {
	d.Errorf(format, args...)
	panic(over{})
}

// Cleanup is run at the end, the newest first.
func (d *demo) Cleanup(f func()) { d.cleanups = append(d.cleanups, f) }

// Failed says whether anything was wrong.
func (d *demo) Failed() bool { return d.failed }

var _ harness.T = (*demo)(nil)
