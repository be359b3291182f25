//go:build !race

package guard

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func slow(s setting, rate float64, p pace, by slowdown) *slowSite {
	return &slowSite{site: usual(s, rate, 0, 0), pace: p, slowdown: by}
}

func TestAGoodReleaseIsNotRevertedForItsLatency(t *testing.T) {
	falseAlarms(t, "slow-false-alarms", seedOfFalseAlarms, func(at site) (list []goodRelease) {
		for _, k := range paces() {
			list = append(list, goodRelease{k.name, &slowSite{site: at, pace: k}})
		}
		return list
	})
}

func slowdowns() []slowdown {
	return []slowdown{
		{name: "p50 and p95 doubled: all pages twice as long", times: 2},
		{name: "p50 doubled: all but the slowest tenth twice as long", times: 2, pages: otherPages},
		{name: "p95 doubled: the slowest tenth twice as long", times: 2, pages: slowestTenth},
		{name: "all pages 3 times as long", times: 3},
		{name: "the slowest tenth 3 times as long", times: 3, pages: slowestTenth},
		{name: "the slowest tenth 10 times as long", times: 10, pages: slowestTenth},
	}
}

func TestASlowReleaseIsFound(t *testing.T) {
	n := max(3, runs(runsIn)/10)
	var names []string
	for _, by := range slowdowns() {
		names = append(names, by.name)
	}
	report := newTable("| | requests | " + strings.Join(names, " | ") + " |")
	for _, s := range settings() {
		for _, rate := range rates() {
			row := []string{s.name, fmt.Sprintf("%g/s", rate)}
			for _, by := range slowdowns() {
				all := found{}
				for _, p := range paces() {
					cell := slow(s, rate, p, by)
					cell.seconds = 600
					all.join(playAll(cell, seedOfFinds, n))
				}
				if by.pages == allPages && by.times == 3 && rate == 20 && s.share > 0.2 && all.within(120) < 0.9 {
					t.Errorf("%s: 3 times as long is found within 120 s in %.0f %% of runs", s.name, 100*all.within(120))
				}
				row = append(row, all.String())
			}
			report.row(row...)
		}
	}
	report.write(t, "slow-finds", n)
}

// player plays one run.
type player interface {
	play(r *rand.Rand) (second int, requests uint64)
}
