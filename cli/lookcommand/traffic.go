//go:build linux

package lookcommand

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"superctl/api"
	"superctl/cli/terminal"
)

// WriteTraffic writes what users got before a change and after it, one line a process.
func WriteTraffic(w io.Writer, out *api.Outcome, indent string) {
	columns := cmp.Or(terminal.Columns(w), terminal.DefaultWidth)
	charts := terminal.Redraws(w) && drawsBlocks(os.Getenv)
	for i := range out.Traffic {
		of := &out.Traffic[i]
		judged := slices.ContainsFunc(out.Guard, func(r api.GuardReport) bool {
			return r.Process == of.Process && r.Verdict == api.NotCounted // its step has said so
		})
		if text := trafficLine(of, columns-len(indent), charts); text != "" && !judged {
			fmt.Fprintln(w, indent+text)
		}
	}
}

// trafficLine returns the line of a process. If it does not fit into columns, the charts go first, then
// the names of the releases, then the latency. It returns "" if there is nothing to tell: no probation,
// or no requests. A time of less than a second, as before a rollback to warm workers, tells nothing.
func trafficLine(of *api.ProcessTraffic, columns int, charts bool) (line string) {
	before, after := of.Before, of.After
	if before != nil && before.Seconds < 1 {
		before = nil
	}
	switch {
	case after == nil || after.Seconds < 1:
		return ""
	case after.NotCounted && (before == nil || before.NotCounted):
		return fmt.Sprintf("%s  no requests counted: %s", of.Process, serverName(after.Server))
	case requestsIn(before)+requestsIn(after) == 0:
		return ""
	}
	for _, form := range []trafficForm{
		{charts: charts, names: true, latency: true}, {names: true, latency: true}, {latency: true}, {},
	} {
		line = of.Process + "  "
		if before != nil {
			line += form.text(before) + "  ->  "
		}
		line += form.text(after)
		if terminal.Width(line) <= columns {
			break
		}
	}
	return line
}

func requestsIn(t *api.Traffic) uint64 {
	if t == nil {
		return 0
	}
	return t.Requests
}

// trafficForm is what is printed of the requests of a release.
type trafficForm struct{ charts, names, latency bool }

func (f trafficForm) text(t *api.Traffic) string {
	var parts []string
	switch {
	case t.NotCounted:
		parts = []string{"not counted (" + serverName(t.Server) + ")"}
	case t.Requests == 0:
		parts = []string{"no requests"}
	default:
		parts = []string{rateText(float64(t.Requests) / t.Seconds)}
	}
	if t.Requests > 0 {
		parts = append(parts, "5xx "+share(t.Status5xx, t.Requests))
		if t.Broken > 0 {
			parts = append(parts, "broken "+share(t.Broken, t.Requests))
		}
		if f.latency && t.P50 != nil {
			parts = append(parts, "p50 "+latencyText(*t.P50))
		}
	}
	text := strings.Join(parts, ", ")
	if f.names {
		text = t.Release + " " + text
	}
	if f.charts && len(t.Durations) > 0 {
		text += " " + blocks(t.Durations)
	}
	return text
}

// rateText formats requests per second.
func rateText(perSecond float64) string {
	switch {
	case perSecond < 0.05:
		return "<0.1/s"
	case perSecond < 99.95:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return number(uint64(math.Round(perSecond))) + "/s"
}

// share formats a part of the requests, such as 0.1 %.
func share(n, of uint64) string {
	if n == 0 {
		return "0.0 %"
	}
	return percent(n, of)
}

// blocks returns a chart of how many answers took how long, from the fastest to the slowest.
func blocks(counts []uint64) string {
	const levels = "▁▂▃▄▅▆▇█"
	most := slices.Max(counts)
	var b strings.Builder
	for _, n := range counts[slices.IndexFunc(counts, func(n uint64) bool { return n > 0 }):] {
		if n == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune([]rune(levels)[(8*n-1)/most])
	}
	return b.String()
}

// drawsBlocks reports whether the locale of the terminal has the characters of a chart.
func drawsBlocks(getenv func(string) string) bool {
	locale := cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG"))
	return strings.Contains(strings.ReplaceAll(strings.ToUpper(locale), "-", ""), "UTF8")
}
