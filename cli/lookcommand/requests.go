//go:build linux

package lookcommand

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"superctl/api"
	"superctl/cli/terminal"
)

// requestsIndent is before the lines about requests, under the one of their generation.
const requestsIndent = "    "

// requestLines returns what the users of a generation have got, and which of its processes do not
// count. A process that an earlier line has named is not named again.
func requestLines(g *api.GenerationStatus, named map[api.Uncounted]bool) (lines []string) {
	if g.Requests != nil {
		lines = append(lines, requestsText(g.Requests))
	}
	for _, u := range g.Uncounted {
		if named[u] {
			continue
		}
		named[u] = true
		label := "requests"
		if g.Requests != nil || len(g.Uncounted) > 1 {
			label = "requests of " + u.Process
		}
		lines = append(lines, fmt.Sprintf("%s: not counted (%s)", label, serverName(u.Server)))
	}
	return lines
}

func serverName(server string) string {
	if server == "" || server == "generic" {
		return "unknown server"
	}
	return server
}

func requestsText(r *api.Requests) string {
	text := "requests " + number(r.Started)
	if r.Started > 0 {
		text += ": " + strings.Join(countedParts(r), ", ")
	}
	if r.P50 != nil && r.P99 != nil {
		text += fmt.Sprintf("; p50 %s, p99 %s", latencyText(*r.P50), latencyText(*r.P99))
	}
	return text
}

// countedParts returns what is worth a look: always the errors, and of the rest what there is.
func countedParts(r *api.Requests) []string {
	ended := r.Ended()
	errors := "5xx " + number(r.Status5xx)
	if r.Status5xx > 0 {
		errors += " (" + percent(r.Status5xx, ended) + ")"
	}
	parts := []string{errors}
	for _, part := range []struct {
		name string
		n    uint64
	}{{"broken", r.Broken}, {"aborted", r.Aborted}, {"lost", r.Lost}} {
		if part.n > 0 {
			parts = append(parts, part.name+" "+number(part.n))
		}
	}
	if r.InFlight > 0 {
		parts = append(parts, number(r.InFlight)+" in flight")
	}
	return parts
}

// number formats a number of requests, such as 1,240.
func number(n uint64) string {
	return humanize.Comma(int64(min(n, 1<<62))) //nolint:gosec // fits
}

func percent(n, of uint64) string {
	share := 100 * float64(n) / float64(max(n, of))
	if share < 0.05 {
		return "<0.1 %"
	}
	return fmt.Sprintf("%.1f %%", share)
}

// latencyText formats a duration in seconds, which may be far below a millisecond.
func latencyText(s float64) string {
	if s < 0.00995 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return terminal.Seconds(s)
}
