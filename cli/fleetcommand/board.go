package fleetcommand

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/cli/terminal"
	"superctl/fleet"
	"superctl/plain"
)

// board shows a run as it happens: a line for each news of a host, or on a terminal a table of all
// hosts that is drawn again.
type board struct {
	out   io.Writer
	now   func() time.Time
	live  bool
	paint terminal.Palette
	began time.Time
	width int

	mu    sync.Mutex
	queue []string // lines that are not printed yet
	hosts []boardRow
	drawn int // lines of the table on the terminal
	stop  chan struct{}
	gone  sync.WaitGroup
}

// boardRow is what the table says about a host.
type boardRow struct {
	host         string
	state        fleet.State
	step, detail string
	since        time.Time
}

// board returns the display of a run; with --json it shows nothing.
func (c *command) board(cc *cli.Context, hosts []string) *board {
	b := &board{out: c.stderr, now: c.now, began: c.now(), stop: make(chan struct{}), width: 1}
	if cc.Bool("json") {
		b.out = io.Discard
	}
	b.live, b.paint = terminal.Redraws(b.out), terminal.PaletteFor(b.out)
	for _, h := range hosts {
		b.width = max(b.width, terminal.Width(h))
		b.hosts = append(b.hosts, boardRow{host: h, state: fleet.Waiting, since: c.now()})
	}
	b.gone.Go(b.run)
	return b
}

// run prints what is new, so that a terminal that stands still does not hold up the run.
func (b *board) run() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.flush(b.live)
		case <-b.stop:
			b.flush(false)
			return
		}
	}
}

// news records news of the run.
func (b *board) news(n fleet.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := plain.Line(n.Detail)
	if n.Host == "" {
		b.queue = append(b.queue, text)
		return
	}
	i := slices.IndexFunc(b.hosts, func(r boardRow) bool { return r.host == n.Host })
	row := &b.hosts[i]
	if n.Step == "" {
		row.since = b.now()
	}
	row.state, row.step, row.detail = n.State, plain.Line(n.Step), text
	if !b.live && n.Step == "" {
		b.queue = append(b.queue, strings.TrimRight(fmt.Sprintf(
			"%8s  %-*s  %-10s %s", terminal.Seconds(b.now().Sub(b.began).Seconds()), b.width, n.Host, n.State, text,
		), " "))
	}
}

// flush prints the lines in the queue, and below them the table.
func (b *board) flush(withTable bool) {
	b.mu.Lock()
	var text strings.Builder
	if b.drawn > 0 {
		text.WriteString(terminal.UpLines(b.drawn))
	}
	for _, line := range b.queue {
		text.WriteString(line + "\n")
	}
	b.queue, b.drawn = nil, 0
	if withTable {
		var t terminal.Table
		for i := range b.hosts {
			t.Row(b.hosts[i].cells(b.paint, b.now())...)
		}
		t.Write(&text, "  ")
		b.drawn = len(b.hosts)
	}
	b.mu.Unlock()
	if text.Len() > 0 {
		_, _ = io.WriteString(b.out, text.String()) // an error does not matter: the outcome follows
	}
}

func (r *boardRow) cells(p terminal.Palette, now time.Time) []string {
	doing := r.step
	if r.state != fleet.Preparing && r.state != fleet.Turning {
		doing = r.detail
	}
	if room := 40; len(doing) > room { // a line that wraps could not be drawn over
		doing = doing[:room] + "..."
	}
	took := now.Sub(r.since).Truncate(100 * time.Millisecond)
	return []string{r.host, stateText(p, r.state), terminal.Seconds(took.Seconds()), doing}
}

// end stops the display and erases the table.
func (b *board) end() {
	close(b.stop)
	b.gone.Wait()
}
