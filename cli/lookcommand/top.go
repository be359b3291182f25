//go:build linux

package lookcommand

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/host"
	"superctl/plain"
)

// topEvery is how often top asks the daemons.
const topEvery = time.Second

// Top is the command superctl top.
func Top(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "top", Usage: "watch all apps of this host on one screen",
		UsageText: "superctl top",
		Description: `Shows every generation of every app: its share of the connections, requests per second, errors, p50
and p99 of the last 10 seconds, requests in flight, memory and restarts; and the change in progress.
It is updated every second. q or Ctrl-C ends it.

   superctl top
   superctl ls           the same once, with all requests since the apps started`,
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 0); err != nil {
				return err
			}
			if cc.IsSet("app") || cc.IsSet("config") {
				return commandline.Usagef("top shows all apps of this host: leave --app and --config out")
			}
			if !terminal.Redraws(c.Stdout) || !terminal.Is(os.Stdin) {
				return commandline.Usagef("top needs a terminal: superctl ls prints the same once")
			}
			return c.top(os.Stdin, terminal.Raw(c.Stdout).(*os.File))
		},
	}
}

// top draws until a key or a signal ends it, and leaves the terminal as it was.
func (c *command) top(keys, screen *os.File) error {
	// Signals that would end or stop the process at once leave a terminal that does not echo.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH, syscall.SIGTSTP)
	defer signal.Stop(resized)

	restore, err := c.takeScreen(keys)
	if err != nil {
		return err
	}
	defer restore()
	go waitForQuit(keys, stop) // ends with the process: a read of a terminal cannot be cancelled

	v := topView{rates: make(map[string]*host.Rates), palette: terminal.PaletteFor(c.Stdout)}
	answers := make(chan struct{}, 1)
	for next := time.After(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-next:
			next = nil
			go func() {
				v.ask(ctx, c.Now)
				answers <- struct{}{}
			}()
			continue
		case <-answers:
			next = time.After(topEvery)
		case <-resized:
			if next == nil {
				continue // drawn when the daemons have answered
			}
		}
		if err := c.draw(&v, screen); err != nil {
			return err
		}
	}
}

// takeScreen has the terminal give every key at once, and switches to a screen of its own. The returned
// function takes both back.
func (c *command) takeScreen(keys *os.File) (restore func(), err error) {
	before, err := term.MakeRaw(int(keys.Fd()))
	if err != nil {
		return nil, fmt.Errorf("top: %w", err)
	}
	restore = func() {
		_, _ = io.WriteString(c.Stdout, terminal.LeaveScreen) // the terminal may be gone
		_ = term.Restore(int(keys.Fd()), before)
	}
	if _, err := io.WriteString(c.Stdout, terminal.EnterScreen); err != nil {
		restore()
		return nil, err
	}
	return restore, nil
}

// waitForQuit calls quit at the key q or Ctrl-C, or when there are no more keys.
func waitForQuit(keys io.Reader, quit func()) {
	defer quit()
	const ctrlC = 3
	for buf := make([]byte, 64); ; {
		n, err := keys.Read(buf)
		if err != nil || strings.ContainsAny(string(buf[:n]), "qQ"+string(rune(ctrlC))) {
			return
		}
	}
}

func (c *command) draw(v *topView, screen *os.File) error {
	columns, rows, err := term.GetSize(int(screen.Fd()))
	if err != nil {
		return fmt.Errorf("top: %w", err)
	}
	_, err = io.WriteString(c.Stdout, terminal.Drawn(v.screen(columns, rows), rows))
	return err
}

// topView is what top shows: the newest answers of the daemons, and their rates.
type topView struct {
	palette terminal.Palette
	at      time.Time
	apps    []host.Measured
	err     error
	rates   map[string]*host.Rates // by the control socket
}

// ask asks the daemons. The next screen is drawn when it has returned.
func (v *topView) ask(ctx context.Context, now func() time.Time) {
	v.apps, v.err = host.Measure(ctx)
	v.at = now()
	known := make(map[string]*host.Rates)
	for i := range v.apps {
		a := &v.apps[i]
		if a.Status == nil {
			continue // after a restart of the daemon, its totals are compared with those before
		}
		r := v.rates[a.Control]
		if r == nil {
			r = new(host.Rates)
		}
		known[a.Control] = r
		r.Add(v.at, &a.Measures)
	}
	v.rates = known
}

// screen returns the lines for a screen of that size. If they are too many, the apps that need attention come first.
func (v *topView) screen(columns, rows int) []string {
	lines := v.lines(columns)
	if len(lines) <= rows {
		return lines
	}
	slices.SortStableFunc(v.apps, func(a, b host.Measured) int { return urgency(&b) - urgency(&a) })
	return v.lines(columns)
}

// urgency is 1 for an app that changes or is not well, else 0.
func urgency(a *host.Measured) int {
	if a.Health() == api.HealthOK && a.Status.Changing == nil {
		return 0
	}
	return 1
}

// lines returns the lines of a screen of that width.
func (v *topView) lines(columns int) []string {
	b := terminal.NewText(columns)
	name, _ := os.Hostname()
	fmt.Fprintf(b, "%s, %s, %s; q quits\n\n", v.palette.Bold(name), plain.Count(len(v.apps), "app", "apps"), v.at.Format("15:04:05"))
	if v.err != nil {
		terminal.Prose(b, "%s", v.palette.Yellow(v.err.Error()))
	}
	if len(v.apps) == 0 {
		terminal.Prose(b, noApps)
		return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	}
	var t terminal.Table
	t.Head(v.palette, "APP", "RELEASE", "STATE", "REQ/S", "ERRORS", "P50", "P99", "OPEN", "MEMORY", "RESTARTS")
	for i := range v.apps {
		v.app(&t, &v.apps[i])
	}
	t.Fit(b, "P50", "OPEN", "RESTARTS", "MEMORY", "P99")
	t.Write(b, "")
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// app adds the rows of an app: one for each generation, and what a person should know.
func (v *topView) app(t *terminal.Table, a *host.Measured) {
	p := v.palette
	if a.Status == nil {
		t.Row(p.Bold(a.Name), "-", p.Red(a.Health()), "-", "-", "-", "-", "-", "-", "-")
		t.Row("", "  "+p.Red(a.Error))
		return
	}
	st := a.Status
	if len(st.Generations) == 0 {
		t.Row(p.Bold(a.Name), "-", p.Health(st.Health, st.Health), "-", "-", "-", "-", "-", "-", "-")
	}
	for i := range st.Generations {
		name := ""
		if i == 0 {
			name = p.Bold(a.Name)
		}
		t.Row(append([]string{name}, v.generation(a, &st.Generations[i])...)...)
	}
	for _, line := range appLines(st, p, v.at) {
		t.Row("", "  "+line)
	}
}

func (v *topView) generation(a *host.Measured, g *api.GenerationStatus) []string {
	rate, failed, p50, p99, open := "-", "-", "-", "-", "-"
	if r, known := v.rates[a.Control].Of(g.ID); known {
		rate, failed = fmt.Sprintf("%.1f", r.PerSecond), fmt.Sprintf("%.1f %%", 100*r.Failed)
		if r.Failed > 0 {
			failed = v.palette.Red(failed)
		}
		if r.P50 > 0 {
			p50, p99 = latencyText(r.P50.Seconds()), latencyText(r.P99.Seconds())
		}
	}
	if g.Requests != nil {
		open = number(g.Requests.InFlight)
	}
	restarts := 0
	for _, w := range g.Workers {
		restarts += w.Restarts
	}
	return []string{
		g.Release, v.state(a.Status, g), rate, failed, p50, p99, open, terminal.Memory(g.MemoryBytes), fmt.Sprint(restarts),
	}
}

// state returns the state of a generation, and its share of the connections while two have a part.
func (v *topView) state(st *api.Status, g *api.GenerationStatus) string {
	live := g.ID == st.Generation
	state, share := host.Role(st, g)
	switch {
	case live && share > 0:
		return v.palette.Green(fmt.Sprintf("live %g %%", share))
	case live:
		return v.palette.Health(st.Health, "live")
	case state == host.Canary, state == host.Control:
		return v.palette.Yellow(fmt.Sprintf("%s %g %%", state, share))
	}
	return state
}
