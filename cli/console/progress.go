//go:build linux

package console

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
	"superctl/plain"
)

// Progress shows a change as it happens: a line for each step, and on a terminal live lines for the
// running step and the newest line of the workers that are starting.
type Progress struct {
	out   io.Writer
	now   func() time.Time
	live  bool
	paint terminal.Palette

	mu     sync.Mutex
	step   string
	note   string
	heard  string // newest line of a worker
	began  time.Time
	limit  float64  // of the step, in seconds; 0 = not known
	drawn  int      // live lines on the terminal
	failed []string // why steps have failed
	stop   chan struct{}
	gone   sync.WaitGroup
}

func newProgress(out io.Writer, now func() time.Time) *Progress {
	p := &Progress{
		out: out, now: now, live: terminal.Redraws(out), paint: terminal.PaletteFor(out), stop: make(chan struct{}),
	}
	if p.live {
		p.gone.Go(p.tick)
	}
	return p
}

func silentProgress() *Progress {
	return &Progress{out: io.Discard, now: time.Now, stop: make(chan struct{})}
}

// tick redraws the live line until end.
func (p *Progress) tick() {
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

// draw draws the live lines. They are cut to the width of the terminal: a line that wraps could not be
// erased.
func (p *Progress) draw() {
	if p.step == "" {
		return
	}
	limit := ""
	if p.limit > 0 {
		limit = fmt.Sprintf(" of %.0f", p.limit)
	}
	lines := []string{fmt.Sprintf("%-10s %6.1f%s s  %s", p.step, p.now().Sub(p.began).Seconds(), limit, p.note)}
	if p.heard != "" {
		lines = append(lines, "  "+p.heard)
	}
	room := cmp.Or(terminal.Columns(p.out), terminal.DefaultWidth) - 1 // the cursor needs a place
	for i := range lines {
		lines[i] = strings.TrimRight(terminal.Cut(lines[i], room), " ")
	}
	if len(lines) > 1 {
		lines[1] = p.paint.Dim(lines[1])
	}
	fmt.Fprint(p.out, p.erasure()+strings.Join(lines, "\n"))
	p.drawn = len(lines)
}

// erasure returns what erases the live lines.
func (p *Progress) erasure() string {
	if p.drawn > 1 {
		return terminal.UpLines(p.drawn - 1)
	}
	return terminal.EraseLine
}

// hear shows a line of a worker until the next one, or the end of the step.
func (p *Progress) hear(l api.LogLine) {
	text := strings.TrimSpace(strings.ReplaceAll(plain.Line(l.Text), "\t", " "))
	if text == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step != "" {
		p.heard = fmt.Sprintf("%s.%d | %s", l.Process, l.Instance, text)
	}
}

// Event shows one event.
func (p *Progress) Event(ev api.Event) {
	ev.Step, ev.Detail = plain.Line(ev.Step), plain.Line(ev.Detail)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev.Type {
	case "begin":
		p.step, p.note, p.heard, p.limit = ev.Step, "", "", ev.Limit
		p.began = p.now().Add(-time.Duration(ev.Seconds * float64(time.Second)))
	case "progress":
		p.note = ev.Detail
		if !p.live {
			p.line(fmt.Sprintf("%-10s %9s  %s", ev.Step, "", ev.Detail))
		}
	case "ready":
		p.step = "" // so that the live line does not disturb what is typed
		p.line(fmt.Sprintf("%-10s %s is proved: the line %q cuts over, anything else aborts", ev.Step, ev.Detail, GoWord))
	case "output":
		p.line(fmt.Sprintf("%s %s", p.paint.Dim(ev.Step+" |"), ev.Detail))
	case "end":
		p.ended(ev, p.paint.Green("ok")+" "+ev.Detail)
	case "fail":
		p.failed = append(p.failed, ev.Detail)
		p.ended(ev, p.paint.Red("failed"))
	}
	if p.live {
		p.draw()
	}
}

// Annotate sets the text after the running step, which only a terminal shows.
func (p *Progress) Annotate(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = text
}

// ended prints the line of a step that has ended.
func (p *Progress) ended(ev api.Event, how string) {
	p.step, p.heard = "", ""
	text := fmt.Sprintf("%-10s %9s  %s", ev.Step, terminal.Seconds(ev.Seconds), how)
	p.line(terminal.Wrap(strings.TrimRight(text, " "), terminal.Columns(p.out), stepIndent))
}

// stepIndent is the width of the first columns of the line of a step.
const stepIndent = 22

// line prints a whole line in place of the live ones.
func (p *Progress) line(text string) {
	if p.live {
		fmt.Fprint(p.out, p.erasure())
		p.drawn = 0
	}
	fmt.Fprintln(p.out, text)
}

// End stops the display and erases the live lines. The verdict comes next and repeats why a step has
// failed; a reason that it does not contain is printed here.
func (p *Progress) End(verdict ...string) {
	close(p.stop)
	p.gone.Wait()
	if p.live {
		fmt.Fprint(p.out, p.erasure())
	}
	text := strings.Join(verdict, "\n")
	for _, why := range p.failed {
		if !strings.Contains(text, why) {
			terminal.Prose(p.out, "%s", why)
		}
	}
}
