//go:build linux

package drillcommand

import (
	"fmt"
	"io"
	"strings"

	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/drill"
)

// showDrill returns a function that shows the events of a drill. Progress comes several times a
// second and is for a terminal alone.
func showDrill(p *console.Progress) func(drill.Event) {
	return func(ev drill.Event) {
		if ev.Type != "progress" {
			p.Event(ev)
			return
		}
		p.Annotate(ev.Detail)
	}
}

// drill prints the report of a drill: the verdict, then the causes of a failure, then the
// figures.
func (pr printer) drill(rep *drill.Report) {
	p := terminal.PaletteFor(pr.Stdout)
	word := p.Green("passed")
	if !rep.OK {
		word = p.Red("failed")
	}
	terminal.Prose(pr.Stdout, "\n%s: the drill %s: %s", p.Bold(rep.App), word, p.Bold(rep.Verdict))
	for _, text := range rep.BrokenPromises {
		fmt.Fprintln(pr.Stdout)
		writeWrapped(pr.Stdout, "  "+p.Red("broken")+"  ", text)
	}
	for _, g := range rep.Groups() {
		pr.losses(g, p)
	}
	fmt.Fprintln(pr.Stdout)
	changesTable(rep, p).Write(pr.Stdout, "  ")
	fmt.Fprintln(pr.Stdout)
	latencyTable(rep, p).Write(pr.Stdout, "  ")
	fmt.Fprintln(pr.Stdout)
	connections := "a new connection for each"
	if rep.Load.KeepAlive {
		connections = "over kept-alive connections"
	}
	writeWrapped(
		pr.Stdout, "  ",
		fmt.Sprintf(
			"%s at %s: %.0f requests a second, %s, for %.0f s", strings.Join(rep.Load.Requests, ", "), rep.Address,
			rep.Load.Sent, connections, rep.Seconds,
		),
	)
	for _, text := range rep.Notes {
		writeWrapped(pr.Stdout, "  "+p.Yellow("note")+" ", text)
	}
}

// maxPlaces limits how many places of a loss are listed.
const maxPlaces = 6

func (pr printer) losses(g *drill.Group, p terminal.Palette) {
	count := p.Red(fmt.Sprintf("%d lost", g.Count))
	if g.InKilledWorker {
		count = p.Yellow(fmt.Sprintf("%d in the killed worker", g.Count))
	}
	fmt.Fprintln(pr.Stdout)
	writeWrapped(pr.Stdout, "  ", count+": "+g.What())
	for i, l := range g.Each {
		if i == maxPlaces {
			terminal.Prose(pr.Stdout, "    and in %d more places", len(g.Each)-i)
			break
		}
		terminal.Prose(pr.Stdout, "    %-3d %s", l.Count, l.Where())
	}
	writeWrapped(pr.Stdout, "    cause    ", g.Cause)
	writeWrapped(pr.Stdout, "    remedy   ", g.Advice)
	writeWrapped(pr.Stdout, "    example  ", g.Example)
}

func changesTable(rep *drill.Report, p terminal.Palette) *terminal.Table {
	var t terminal.Table
	t.Head(p, "START", "DURATION", "REQUESTS", "LOST", "SLOWEST", "CHANGE")
	for i := range rep.Changes {
		ch := &rep.Changes[i]
		lost := fmt.Sprint(ch.Lost)
		if ch.Lost > 0 {
			lost = p.Red(lost)
		}
		what := ch.What
		switch {
		case ch.Error != "":
			what += ": " + p.Red(ch.Error)
		case ch.Detail != "":
			what += ": " + ch.Detail
		}
		t.Row(
			drill.Moment(ch.At), terminal.Seconds(ch.Seconds), fmt.Sprint(ch.Requests), lost, drill.Milliseconds(ch.Slowest),
			what,
		)
	}
	return &t
}

func latencyTable(rep *drill.Report, p terminal.Palette) *terminal.Table {
	var t terminal.Table
	t.Row("", p.Dim("REQUESTS"), p.Dim("P50"), p.Dim("P99"), p.Dim("P99.9"), p.Dim("SLOWEST"))
	for _, one := range []struct {
		name string
		drill.Latency
	}{{"steady", rep.Steady}, {"during changes", rep.During}} {
		t.Row(
			one.name, fmt.Sprint(one.Requests), drill.Milliseconds(one.P50), drill.Milliseconds(one.P99),
			drill.Milliseconds(one.P999), drill.Milliseconds(one.Slowest),
		)
	}
	return &t
}

// textWidth is the longest line of prose.
const textWidth = 100

// writeWrapped prints a text behind a lead, with its further lines indented to the same column.
func writeWrapped(w io.Writer, lead, text string) {
	indent := strings.Repeat(" ", terminal.Width(lead))
	line := lead
	for i, word := range strings.Fields(text) {
		if i > 0 && terminal.Width(line)+terminal.Width(word) >= textWidth {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}
