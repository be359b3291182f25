package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"time"

	"superctl/load"
)

// The plot's dimensions in pixels.
const (
	width, height = 900.0, 90.0 // of one strip
	left, gap     = 60.0, 26.0
	least, most   = 1.0, 20_000.0 // ms, on a logarithmic scale
)

// plot draws the latency of every request of one way over time, with one strip for each peer.
func plot(list []played, way string) []byte {
	list = slices.DeleteFunc(slices.Clone(list), func(p played) bool { return p.err != nil })
	var t bytes.Buffer
	fmt.Fprintf(&t, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">
<style>.t{fill:#333}.g{stroke:#ccc}.m{stroke:#d80;stroke-width:1.5}path{fill:none;stroke-linecap:round}.o{stroke:#27b;stroke-width:2.4}.f{stroke:#d22;stroke-width:4.4}@media(prefers-color-scheme:dark){.t{fill:#ddd}.g{stroke:#444}.o{stroke:#6bf}.f{stroke:#f66}}</style>
`, left+width+10, float64(len(list))*(height+gap)+gap)
	for i, p := range list {
		for _, s := range p.strips {
			if s.way == way {
				s.draw(&t, p.name, gap+float64(i)*(height+gap))
			}
		}
	}
	t.WriteString("</svg>\n")
	return t.Bytes()
}

func (s *strip) draw(t *bytes.Buffer, name string, top float64) {
	span := s.result.Ended.Sub(s.result.Began).Seconds()
	x := func(at time.Time) float64 { return left + width*at.Sub(s.result.Began).Seconds()/span }
	y := func(d time.Duration) float64 {
		v := min(max(float64(d.Microseconds())/1000, least), most)
		return top + height*(1-math.Log(v/least)/math.Log(most/least))
	}
	fmt.Fprintf(
		t, `<text class="t" x="%.0f" y="%.0f" font-weight="bold">%s: %d failed</text>`+"\n", left, top-6,
		html.EscapeString(name), len(s.result.Failed()),
	)
	for _, line := range []time.Duration{
		time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second,
	} {
		fmt.Fprintf(t, `<line class="g" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text class="t" x="%.0f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, left+width, y(line), y(line), left-6, y(line)+4, ms(line))
	}
	for _, turn := range s.turns {
		fmt.Fprintf(
			t, `<line class="m" x1="%.1f" x2="%.1f" y1="%.0f" y2="%.0f"/>`+"\n", x(turn.asked), x(turn.asked), top,
			top+height,
		)
	}
	// A point is a zero-length stroke with a round cap: one path for each class takes a tenth of
	// the bytes of a circle for each request. Points at the same spot are drawn once.
	for _, failed := range []bool{false, true} {
		class, drawn := "o", make(map[[2]int]bool)
		if failed {
			class = "f"
		}
		fmt.Fprintf(t, `<path class="%s" d="`, class)
		for _, r := range s.result.Records {
			at := [2]int{int(math.Round(x(r.Due))), int(math.Round(y(r.Took())))}
			if (r.Failure != load.None) == failed && (failed || kindOf(&r) < 2) && !drawn[at] {
				drawn[at] = true
				fmt.Fprintf(t, "M%d %dh0", at[0], at[1])
			}
		}
		t.WriteString(`"/>`)
	}
	t.WriteByte('\n')
}
