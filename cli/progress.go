//go:build linux

package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/terminal"
	"superctl/plain"
)

// progress shows a change as it happens: a line for each step, and on a terminal a live line for
// the running step.
type progress struct {
	out   io.Writer
	now   func() time.Time
	live  bool
	paint terminal.Palette

	mu    sync.Mutex
	step  string
	note  string
	began time.Time
	limit float64 // of the step, in seconds; 0 = not known
	stop  chan struct{}
	gone  sync.WaitGroup
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	p := &progress{out: out, now: now, live: terminal.Redraws(out), paint: terminal.PaletteFor(out), stop: make(chan struct{})}
	if p.live {
		p.gone.Go(p.tick)
	}
	return p
}

// progress returns the progress display of a command; with --json it shows nothing.
func (c *command) progress(cc *cli.Context) *progress {
	if cc.Bool("json") {
		return silentProgress()
	}
	return newProgress(c.stderr, c.now)
}

func silentProgress() *progress {
	return &progress{out: io.Discard, now: time.Now, stop: make(chan struct{})}
}

// tick redraws the live line until end.
func (p *progress) tick() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// width is the length of the live line. A line that wraps could not be erased.
const width = 78

func (p *progress) draw() {
	if p.step == "" {
		return
	}
	text := fmt.Sprintf("%-10s %6.1f s  %s", p.step, p.now().Sub(p.began).Seconds(), p.note)
	if p.limit > 0 {
		text = fmt.Sprintf("%-10s %6.1f of %.0f s  %s", p.step, p.now().Sub(p.began).Seconds(), p.limit, p.note)
	}
	if len(text) > width {
		text = text[:width-3] + "..."
	}
	fmt.Fprintf(p.out, terminal.EraseLine+"%s", text)
}

// event shows one event.
func (p *progress) event(ev api.Event) {
	ev.Step, ev.Detail = plain.Line(ev.Step), plain.Line(ev.Detail)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev.Type {
	case "begin":
		p.step, p.note, p.began, p.limit = ev.Step, "", p.now(), ev.Limit
	case "progress":
		p.note = ev.Detail
		if !p.live {
			fmt.Fprintf(p.out, "%-10s %s\n", ev.Step, ev.Detail)
		}
	case "ready":
		p.step = "" // so that the live line does not disturb what is typed
		p.line(fmt.Sprintf("%-10s %s is proved: the line %q cuts over, anything else aborts", ev.Step, ev.Detail, goWord))
	case "output":
		p.line(fmt.Sprintf("%s %s", p.paint.Dim(ev.Step+" |"), ev.Detail))
	case "end", "fail":
		mark := p.paint.Green("ok")
		if ev.Type == "fail" {
			mark = p.paint.Red("failed")
		}
		p.step = ""
		p.line(fmt.Sprintf("%-10s %9s  %s %s", ev.Step, terminal.Seconds(ev.Seconds), mark, ev.Detail))
	}
	if p.live {
		p.draw()
	}
}

// line prints a whole line in place of the live one.
func (p *progress) line(text string) {
	if p.live {
		fmt.Fprint(p.out, terminal.EraseLine)
	}
	fmt.Fprintln(p.out, text)
}

// end stops the display and erases the live line.
func (p *progress) end() {
	close(p.stop)
	p.gone.Wait()
	if p.live {
		fmt.Fprint(p.out, terminal.EraseLine)
	}
}
