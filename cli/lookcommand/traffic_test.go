//go:build linux

package lookcommand

import (
	"testing"

	"superctl/api"
	"superctl/cli/terminal"
)

func TestASwitchPrintsWhatUsersGotBeforeAndAfter(t *testing.T) {
	seconds := func(s float64) *float64 { return &s }
	r41 := api.Traffic{
		Release: "r41", Seconds: 81.3, Requests: 1000, Status5xx: 1, P50: seconds(0.021),
		Durations: []uint64{0, 0, 0, 10, 80, 10},
	}
	r42 := api.Traffic{
		Release: "r42", Seconds: 10, Requests: 119, P50: seconds(0.019), Durations: []uint64{0, 0, 0, 40, 79},
	}
	long, longer := r41, r42
	long.Release, longer.Release = "2026-11-28-174533", "2026-11-29-090112"
	busy, busier := long, longer
	busy.Requests, busy.Status5xx, busy.Broken, busy.P50 = 8130000, 81300, 81300, seconds(0.0004)
	busier.Requests, busier.Status5xx, busier.Broken, busier.P50 = 1000000, 500000, 10000, seconds(0.0004)
	short := api.Traffic{Release: "r41", Seconds: 0.2, Requests: 4}
	none := api.Traffic{Release: "r42", Seconds: 10}
	unseen := api.Traffic{Release: "r41", Seconds: 8, NotCounted: true, Server: "generic"}
	for name, c := range map[string]struct {
		before, after *api.Traffic
		columns       int
		charts        bool
		want          string
	}{
		"an ordinary terminal": {
			&r41, &r42, 80, true, "web  r41 12.3/s, 5xx 0.1 %, p50 21 ms  ->  r42 11.9/s, 5xx 0.0 %, p50 19 ms",
		},
		"a wide terminal": {
			&r41, &r42, 100, true, "web  r41 12.3/s, 5xx 0.1 %, p50 21 ms ▁█▁  ->  r42 11.9/s, 5xx 0.0 %, p50 19 ms ▅█",
		},
		"a terminal without charts": {
			&r41, &r42, 100, false, "web  r41 12.3/s, 5xx 0.1 %, p50 21 ms  ->  r42 11.9/s, 5xx 0.0 %, p50 19 ms",
		},
		"long names": {
			&long, &longer, 80, true, "web  12.3/s, 5xx 0.1 %, p50 21 ms  ->  11.9/s, 5xx 0.0 %, p50 19 ms",
		},
		"much of everything": {
			&busy, &busier, 80, true, "web  100,000/s, 5xx 1.0 %, broken 1.0 %  ->  100,000/s, 5xx 50.0 %, broken 1.0 %",
		},
		"warm workers":  {&short, &r42, 80, false, "web  r42 11.9/s, 5xx 0.0 %, p50 19 ms"},
		"a new process": {nil, &r42, 80, false, "web  r42 11.9/s, 5xx 0.0 %, p50 19 ms"},
		"no request any more": {
			&r41, &none, 80, false, "web  r41 12.3/s, 5xx 0.1 %, p50 21 ms  ->  r42 no requests",
		},
		"counted from now on": {
			&unseen, &r42, 80, false, "web  r41 not counted (unknown server)  ->  r42 11.9/s, 5xx 0.0 %, p50 19 ms",
		},
		"not counted":   {&unseen, &unseen, 80, true, "web  no requests counted: unknown server"},
		"no users":      {&none, &none, 80, true, ""},
		"no probation":  {&r41, &short, 80, true, ""},
		"nothing known": {&r41, nil, 80, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := trafficLine(&api.ProcessTraffic{Process: "web", Before: c.before, After: c.after}, c.columns, c.charts)
			if got != c.want {
				t.Errorf("%q", got)
			}
			if n := terminal.Width(got); n > c.columns {
				t.Errorf("%d columns", n)
			}
		})
	}
}

func TestChartsAreDrawnWhereTheLocaleHasTheirCharacters(t *testing.T) {
	for locale, want := range map[string]bool{"C.UTF-8": true, "de_DE.utf8": true, "C": false, "": false, "de_DE": false} {
		getenv := func(name string) string { return map[string]string{"LANG": locale}[name] }
		if got := drawsBlocks(getenv); got != want {
			t.Errorf("%q: %v", locale, got)
		}
	}
	overruled := func(name string) string { return map[string]string{"LANG": "C.UTF-8", "LC_ALL": "C"}[name] }
	if drawsBlocks(overruled) {
		t.Error("LC_ALL=C is overruled by LANG")
	}
}
