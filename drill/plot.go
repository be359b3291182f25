package drill

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"

	"superctl/load"
)

// The plot's dimensions in pixels.
const (
	plotWidth, plotHeight = 900.0, 240.0 // of the plot area
	plotLeft, plotTop     = 60.0, 24.0
	minMS                 = 0.5 // lower end of the logarithmic scale
)

// maxTitles limits how many lost requests have a tooltip.
const maxTitles = 300

// plot draws the latency of every request over the time at which it was due, with a band for each
// change.
func (r *Report) plot() string {
	var t strings.Builder
	most := 100.0
	for i := range r.result.Records {
		most = max(most, ms(r.result.Records[i].Took())*1.3)
	}
	span := max(r.result.Ended.Sub(r.result.Began).Seconds(), 0.001)
	x := func(seconds float64) float64 { return plotLeft + plotWidth*min(max(seconds/span, 0), 1) }
	y := func(millis float64) float64 {
		return plotTop + plotHeight*(1-math.Log(max(millis, minMS)/minMS)/math.Log(most/minMS))
	}
	fmt.Fprintf(&t,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img" aria-label="latency of every `+
			`request over time">`+"\n",
		plotLeft+plotWidth+24, plotTop+plotHeight+30)
	r.bands(&t, x)
	for line := 1.0; line < most; line *= 10 {
		fmt.Fprintf(&t,
			`<line class="grid" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text x="%.0f" y="%.1f" `+
				`text-anchor="end">%s</text>`+"\n",
			plotLeft, plotLeft+plotWidth, y(line), y(line), plotLeft-8, y(line)+4, tick(line))
	}
	step := seconds(span)
	for at := 0.0; at <= span; at += step {
		fmt.Fprintf(&t, `<text x="%.1f" y="%.0f" text-anchor="middle">%g s</text>`+"\n", x(at), plotTop+plotHeight+18,
			at)
	}
	r.points(&t, x, y)
	t.WriteString("</svg>\n")
	return t.String()
}

// tick formats a latency of the axis.
func tick(millis float64) string {
	if millis >= 1000 {
		return fmt.Sprintf("%g s", millis/1000)
	}
	return fmt.Sprintf("%g ms", millis)
}

// seconds returns the distance between the marks on the time axis, for about ten of them.
func seconds(span float64) float64 {
	for _, s := range []float64{1, 2, 5, 10, 20, 30, 60, 120, 300} {
		if span/s <= 12 {
			return s
		}
	}
	return 600
}

// bands draws the changes.
func (r *Report) bands(t *strings.Builder, x func(seconds float64) float64) {
	for i, c := range r.Changes {
		class := "band"
		if !c.OK || c.Lost > 0 {
			class = "band bad"
		}
		from, to := x(c.At), x(c.At+c.Seconds)
		fmt.Fprintf(t,
			`<g><title>%d: %s, %.1f s</title><rect class="%s" x="%.1f" y="%.0f" width="%.1f" height="%.0f"/><text `+
				`class="number" x="%.1f" y="%.0f" text-anchor="middle">%d</text></g>`+"\n",
			i+1, html.EscapeString(c.What), c.Seconds, class, from, plotTop,
			max(to-from, 2), plotHeight, (from+to)/2, plotTop-8, i+1)
	}
}

// points draws the requests. A point is a zero-length stroke with a round cap: one path for all
// takes a tenth of the bytes of a circle for each. Points at the same spot are drawn once.
func (r *Report) points(t *strings.Builder, x, y func(float64) float64) {
	drawn := make(map[string]bool)
	t.WriteString(`<path class="good" d="`)
	for i := range r.result.Records {
		rec := &r.result.Records[i]
		if rec.Failure != load.None {
			continue
		}
		at := fmt.Sprintf("M%.1f %.1fz", x(rec.Begun.Sub(r.result.Began).Seconds()), y(ms(rec.Took())))
		if !drawn[at] {
			drawn[at] = true
			t.WriteString(at)
		}
	}
	t.WriteString(`"/>` + "\n")
	for i, rec := range r.result.Failed() {
		when := rec.Begun.Sub(r.result.Began)
		class := "lost"
		if r.separate[i] {
			class = "separate"
		}
		fmt.Fprintf(t, `<circle class="%s" cx="%.1f" cy="%.1f" r="3.5">`, class, x(when.Seconds()), y(ms(rec.Took())))
		if i < maxTitles {
			fmt.Fprintf(t, "<title>%s at %s: %s after %s</title>", html.EscapeString(r.result.Shapes[rec.Shape].Name),
				Moment(when.Seconds()),
				html.EscapeString(rec.Failure.String()), rec.Took().Round(100*time.Microsecond))
		}
		t.WriteString("</circle>\n")
	}
}
