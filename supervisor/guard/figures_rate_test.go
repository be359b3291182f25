//go:build !race

package guard

import (
	"fmt"
	"strings"
	"testing"
)

func rateOf(s setting, rate float64, c custom, h hang) *rateSite {
	return &rateSite{site: usual(s, rate, 0, 0), custom: c, hang: h}
}

func TestAGoodReleaseIsNotRevertedForItsRate(t *testing.T) {
	falseAlarms(t, "rate-false-alarms", seedOfRateFalseAlarms, func(at site) (list []goodRelease) {
		for _, k := range customs() {
			list = append(list, goodRelease{k.name, &rateSite{site: at, custom: k}})
		}
		return list
	})
}

func hangs() []hang {
	return []hang{
		{name: "nothing is answered", part: 1},
		{name: "the same, from the 60th second on", part: 1, after: 60},
		{name: "one request of ten is never answered", part: 0.1},
		{name: "19 of 20, in an async server", part: 0.95, async: true},
		{name: "half, in an async server", part: 0.5, async: true},
		{name: "pages ask for nothing more", script: true},
	}
}

func TestAReleaseThatStopsAnsweringIsFound(t *testing.T) {
	n := max(3, runs(runsIn)/10)
	var names []string
	for _, h := range hangs() {
		names = append(names, h.name)
	}
	report := newTable("| | requests | " + strings.Join(names, " | ") + " |")
	for _, s := range settings() {
		for _, rate := range rates() {
			row := []string{s.name, fmt.Sprintf("%g/s", rate)}
			for i, h := range hangs() {
				cell := rateOf(s, rate, custom{name: "steady"}, h)
				cell.seconds = 600
				f := playAll(cell, seedOfRateFinds, n)
				if i == 0 && rate == 20 && s.share != 0.05 && f.within(120) < 0.9 {
					t.Errorf("%s: a release that hangs is found within 120 s in %.0f %% of runs", s.name, 100*f.within(120))
				}
				row = append(row, f.String())
			}
			report.row(row...)
		}
	}
	report.write(t, "rate-finds", n)
}
