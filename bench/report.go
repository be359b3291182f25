package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/load"
)

// report is bench/RESULTS.md.
func (b *board) report() string {
	var t strings.Builder
	fmt.Fprintf(&t, `# Results

Made by `+"`make bench`"+` on %s: %s.

A Django project that takes %.0f s to import, 2 workers, %d requests a second, GET and POST, a new connection for each, nothing
retried. %d switches each, between two releases that are both good. "During" is from the moment when a switch is asked for until one
second after only the new release answers. Latency counts from the moment when a request was due. "Mixed" is how long some users
meet the old release and others the new one. Only superctl looks whether the new release works before it gets the traffic; the
SIGUSR2 row waits for a second longer than the import takes, as scripts do.

| | requests | **failed** | p99 steady | p99 during | max during | until only the new one answers | mixed | cutover |
|---|---|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), machine(), importing, rate, switches)
	for _, s := range b.strips {
		var windows []load.Window
		var all, mixed time.Duration
		for _, turn := range s.turns {
			windows = append(windows, load.Window{Began: turn.asked, Ended: turn.over().Add(time.Second)})
			all += turn.over().Sub(turn.asked) / time.Duration(len(s.turns))
			mixed = max(mixed, turn.mixed())
		}
		during, steady := s.result.During(windows...).Latency(), s.result.Outside(windows...).Latency()
		fmt.Fprintf(&t, "| %s | %d | **%d** | %s | %s | %s | %.1f s | %s | %s |\n", s.name, len(s.result.Records), len(s.result.Failed()),
			ms(steady.P99), ms(during.P99), ms(during.Max), all.Seconds(), ms(mixed), s.cutover)
	}
	t.WriteString("\n![latency of every request over time, with a mark at each switch](latency.svg)\n\n")
	for _, s := range b.strips {
		if n := s.result.Count(); len(s.result.Failed()) > 0 {
			fmt.Fprintf(&t, "- %s: %s\n", s.name, classes(n))
		}
	}
	fmt.Fprintf(&t, `
## kill -9 of the one in charge

The same app and load, each contender a service of %s with `+"`Restart=always`"+` and otherwise as its manual shows it. The service's main process
(superctl's daemon, gunicorn's and uWSGI's master, supervisord, circusd) gets SIGKILL, %d times.

| | requests | **failed** | slowest | longest time without an answer | in charge again, median |
|---|---|---|---|---|---|
`, systemdVersion(), kills)
	for _, c := range b.killed {
		fmt.Fprintf(&t, "| %s | %d | **%d** | %s | %s | %s |\n", c.name, len(c.result.Records), len(c.result.Failed()), ms(c.result.Latency().Max), ms(c.silent), median(c.charged))
	}
	t.WriteByte('\n')
	for _, c := range b.killed {
		if len(c.result.Failed()) > 0 {
			fmt.Fprintf(&t, "- %s: %s\n", c.name, classes(c.result.Count()))
		}
	}
	t.WriteString("\n## Single figures\n\n| | | |\n|---|---|---|\n")
	for _, f := range b.small {
		fmt.Fprintf(&t, "| %s | %s | %s |\n", f.what, f.value, f.how)
	}
	return t.String()
}

func classes(n map[load.Failure]int) string {
	var parts []string
	for f, count := range n {
		if f != load.None {
			parts = append(parts, fmt.Sprintf("%d %v", count, f))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func ms(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}

// median is the middle one, in words; nothing for none.
func median(took []time.Duration) string {
	if len(took) == 0 {
		return ""
	}
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("%.1f ms", float64(took[len(took)/2].Microseconds())/1000)
}

func systemdVersion() string {
	out, err := exec.Command("systemctl", "--version").Output()
	if err != nil {
		return "systemd"
	}
	fields := strings.Fields(string(out))
	return strings.Join(fields[:min(2, len(fields))], " ")
}

// machine is what the figures depend on.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	pins, err := os.ReadFile(filepath.Join("e2e", "requirements.txt"))
	if err != nil {
		return err.Error()
	}
	var versions []string
	for line := range strings.Lines(string(pins)) {
		name, rest, pinned := strings.Cut(line, "==")
		version, _, _ := strings.Cut(rest, " ")
		if pinned && slices.Contains([]string{"django", "gunicorn", "uwsgi", "uvicorn"}, name) {
			versions = append(versions, name+" "+strings.TrimSpace(version))
		}
	}
	return fmt.Sprintf("Linux %s, %d cores, %s; %s", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), runtime.Version(), strings.Join(versions, ", "))
}

// The plot's measures, in pixels.
const (
	width, height = 900.0, 110.0 // of one strip
	left, gap     = 60.0, 26.0
	least, most   = 1.0, 20_000.0 // ms, on a logarithmic scale
)

// plot draws the latency of every request over time, a strip for each contender.
func plot(strips []strip) []byte {
	var t bytes.Buffer
	total := float64(len(strips))*(height+gap) + gap
	fmt.Fprintf(&t, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">
<style>.t{fill:#333}.g{stroke:#ccc}.m{stroke:#d80;stroke-width:1.5}path{fill:none;stroke-linecap:round}.o{stroke:#27b;stroke-width:2.4}.f{stroke:#d22;stroke-width:4.4}@media(prefers-color-scheme:dark){.t{fill:#ddd}.g{stroke:#444}.o{stroke:#6bf}.f{stroke:#f66}}</style>
`, left+width+10, total)
	for i, s := range strips {
		top := gap + float64(i)*(height+gap)
		span := s.result.Ended.Sub(s.result.Began).Seconds()
		x := func(at time.Time) float64 { return left + width*at.Sub(s.result.Began).Seconds()/span }
		y := func(d time.Duration) float64 {
			v := min(max(float64(d.Microseconds())/1000, least), most)
			return top + height*(1-math.Log(v/least)/math.Log(most/least))
		}
		fmt.Fprintf(&t, `<text class="t" x="%.0f" y="%.0f" font-weight="bold">%s: %d failed</text>`+"\n", left, top-6, html.EscapeString(s.name), len(s.result.Failed()))
		for _, line := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second} {
			fmt.Fprintf(&t, `<line class="g" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text class="t" x="%.0f" y="%.1f" text-anchor="end">%s</text>`+"\n",
				left, left+width, y(line), y(line), left-6, y(line)+4, ms(line))
		}
		for _, turn := range s.turns {
			fmt.Fprintf(&t, `<line class="m" x1="%.1f" x2="%.1f" y1="%.0f" y2="%.0f"/>`+"\n", x(turn.asked), x(turn.asked), top, top+height)
		}
		// A point is a stroke of no length with a round cap: one path a class is a tenth of the bytes of a circle a request.
		for _, failed := range []bool{false, true} {
			class := "o"
			if failed {
				class = "f"
			}
			fmt.Fprintf(&t, `<path class="%s" d="`, class)
			for _, r := range s.result.Records {
				if (r.Failure != load.None) == failed {
					fmt.Fprintf(&t, "M%.1f %.1fz", x(r.Due), y(r.Took()))
				}
			}
			t.WriteString(`"/>`)
		}
		t.WriteByte('\n')
	}
	t.WriteString("</svg>\n")
	return t.Bytes()
}
