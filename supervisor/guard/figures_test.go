//go:build !race

// The figures of the guard: thousands of releases are computed, and with the race detector that takes ten times as long.
// tools/test plays them without it.

package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The settings and sites of the simulation.
func settings() []setting {
	return []setting{
		{name: "canary of 5 %", share: 0.05},
		{name: "canary of 20 %", share: 0.2},
		{name: "canary of 50 %", share: 0.5},
		{name: "probation"},
		{name: "probation, unix socket", turns: true},
		{name: "probation, control of 5 %", control: 0.05},
		{name: "probation, control of 20 %", control: 0.2},
	}
}

func usual(s setting, rate, before, now float64) site {
	return site{
		setting: s, rate: rate, old: before, new: now, seconds: 120,
		clumped: 0.5, clump: 5, driftSD: 0.5, driftBy: 120,
	}
}

// The seeds of the tables. None of them was used to choose the constants of the rule that it plays: those
// of the rate were drawn after its constants were chosen.
const (
	seedOfFalseAlarms     = 20_261_129 // of the errors and the latency
	seedOfFinds           = 71
	seedOfRateFalseAlarms = 2_266_919_800
	seedOfRateFinds       = 47_284_799
)

// runsIn is how many releases an ordinary run of the tests plays in a cell; `make guard` plays 10,000.
const runsIn = 40

func runs(usually int) int {
	if n, err := strconv.Atoi(os.Getenv("GUARD_RUNS")); err == nil {
		return n
	}
	return usually
}

// found is what a cell has found.
type found struct {
	runs     int
	seconds  []int
	requests []uint64
}

// playAll plays a cell on all processors; the same seed plays the same runs.
func playAll(s player, seed uint64, runs int) found {
	f := found{runs: runs}
	var mu sync.Mutex
	var playing sync.WaitGroup
	var next int
	for range runtime.GOMAXPROCS(0) {
		playing.Go(func() {
			for {
				mu.Lock()
				run := next
				next++
				mu.Unlock()
				if run >= runs {
					return
				}
				second, requests := s.play(rand.New(rand.NewPCG(seed, uint64(run)))) //nolint:gosec // can be repeated
				if second > 0 {
					mu.Lock()
					f.seconds, f.requests = append(f.seconds, second), append(f.requests, requests)
					mu.Unlock()
				}
			}
		})
	}
	playing.Wait()
	slices.Sort(f.seconds)
	slices.Sort(f.requests)
	return f
}

// most is the largest part of good releases that may be reverted.
const most = 0.001

func TestAGoodReleaseIsNotReverted(t *testing.T) {
	n := runs(runsIn)
	report := newTable("| | hiccup | " + strings.Join(cellNames(), " | ") + " |")
	for _, s := range settings() {
		for _, hiccup := range []string{"none", "one"} {
			row := []string{s.name, hiccup}
			for _, rate := range rates() {
				worst := 0
				for _, base := range bases() {
					cell := usual(s, rate, base, base)
					cell.hiccup = hiccup == "one"
					f := playAll(&cell, seedOfFalseAlarms, n)
					// By chance a cell has more than its mean: for few runs one is allowed.
					if len(f.seconds) > max(1, int(most*float64(n))) {
						t.Errorf("%s, %g/s, base %g, hiccup %s: %d of %d reverted", s.name, rate, base, hiccup, len(f.seconds), n)
					}
					worst = max(worst, len(f.seconds))
				}
				row = append(row, fmt.Sprintf("%d", worst))
			}
			report.row(row...)
		}
	}
	report.write(t, "false-alarms", n)
}

func rates() []float64 { return []float64{1, 5, 20, 200} }
func bases() []float64 { return []float64{0, 0.001, 0.005, 0.02} }

func cellNames() (list []string) {
	for _, rate := range rates() {
		list = append(list, fmt.Sprintf("%g/s", rate))
	}
	return list
}

// change is a release that answers with more errors.
type change struct {
	name     string
	old, new float64
}

func changes() []change {
	return []change{
		{"1 -> 50 %", 0.01, 0.5},
		{"0 -> 100 % on one path of ten", 0, 0.1},
		{"0.1 -> 5 %", 0.001, 0.05},
		{"2 -> 6 %", 0.02, 0.06},
	}
}

func TestAReleaseWithManyErrorsIsFound(t *testing.T) {
	n := max(8, runs(runsIn)/10)
	report := newTable("| | requests | " + strings.Join(changeNames(), " | ") + " |")
	for _, s := range settings() {
		for _, rate := range rates() {
			row := []string{s.name, fmt.Sprintf("%g/s", rate)}
			for i, c := range changes() {
				cell := usual(s, rate, c.old, c.new)
				cell.seconds = 600
				f := playAll(&cell, seedOfFinds, n)
				if i == 0 && rate == 20 && s.share != 0.05 && f.within(30) < 0.9 {
					t.Errorf("%s: 1 -> 50 %% is found within 30 s in %.0f %% of runs", s.name, 100*f.within(30))
				}
				row = append(row, f.String())
			}
			report.row(row...)
		}
	}
	report.write(t, "finds", n)
}

func changeNames() (list []string) {
	for _, c := range changes() {
		// The fewest requests that give 1,000:1 when both shares are known.
		least := "1"
		if c.old > 0 {
			p, q := c.new, c.old
			least = fmt.Sprintf("%.0f", math.Ceil(math.Log(1000)/(p*math.Log(p/q)+(1-p)*math.Log((1-p)/(1-q)))))
		}
		list = append(list, fmt.Sprintf("%s (at least %s)", c.name, least))
	}
	return list
}

// join adds the runs of another cell.
func (f *found) join(o found) {
	f.runs += o.runs
	f.seconds, f.requests = append(f.seconds, o.seconds...), append(f.requests, o.requests...)
	slices.Sort(f.seconds)
	slices.Sort(f.requests)
}

func (f *found) within(seconds int) float64 {
	n, _ := slices.BinarySearch(f.seconds, seconds+1)
	return float64(n) / float64(f.runs)
}

func (f *found) String() string {
	part := fmt.Sprintf("%.0f %%", 100*f.within(120))
	if middle := f.runs / 2; middle < len(f.seconds) {
		return fmt.Sprintf("%d s, %d; %s", f.seconds[middle], f.requests[middle], part)
	}
	return "not in 10 min; " + part
}

// table is a table in Markdown.
type table struct{ lines []string }

func newTable(head string) *table {
	return &table{[]string{head, strings.Repeat("|---", strings.Count(head, "|")-1) + "|"}}
}

func (tb *table) row(cells ...string) {
	tb.lines = append(tb.lines, "| "+strings.Join(cells, " | ")+" |")
}

// write puts the table into the document of GUARD_REPORT, in place of the one between its marks.
func (tb *table) write(t *testing.T, name string, runs int) {
	t.Helper()
	path := os.Getenv("GUARD_REPORT")
	if path == "" {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := fmt.Sprintf("<!-- %s -->\n", name), fmt.Sprintf("<!-- end of %s -->", name)
	head, rest, found := strings.Cut(string(text), begin)
	_, tail, ends := strings.Cut(rest, end)
	if !found || !ends {
		t.Fatalf("%s has no place for %s", path, name)
	}
	text = fmt.Appendf(nil, "%s%s\n%d runs a cell:\n\n%s\n\n%s%s", head, begin, runs, strings.Join(tb.lines, "\n"), end, tail)
	if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // a document
		t.Fatal(err)
	}
}

// goodRelease is a release as good as the old one, at a site of some kind.
type goodRelease struct {
	kind string
	player
}

// falseAlarms plays good releases in each cell, at sites of each kind, and writes how many were reverted
// of the worst kind.
func falseAlarms(t *testing.T, table string, seed uint64, kinds func(at site) []goodRelease) {
	t.Helper()
	n := runs(runsIn / 4)
	report := newTable("| | hiccup | " + strings.Join(cellNames(), " | ") + " (a tenth of the runs) |")
	for _, s := range settings() {
		for _, hiccup := range []string{"none", "one"} {
			row := []string{s.name, hiccup}
			for _, rate := range rates() {
				n, worst := n, 0
				if rate > 100 {
					n = max(1, n/10) // it takes ten times as long
				}
				at := usual(s, rate, 0, 0)
				at.hiccup = hiccup == "one"
				for _, r := range kinds(at) {
					f := playAll(r.player, seed, n)
					if len(f.seconds) > max(1, int(most*float64(n))) {
						t.Errorf("%s, %g/s, %s, hiccup %s: %d of %d reverted", s.name, rate, r.kind, hiccup, len(f.seconds), n)
					}
					worst = max(worst, len(f.seconds))
				}
				row = append(row, fmt.Sprintf("%d", worst))
			}
			report.row(row...)
		}
	}
	report.write(t, table, n)
}
