//go:build linux

package host

import (
	"testing"
	"time"

	"superctl/api"
)

// served is an app whose generation 3 has answered that many requests, of which some failed.
func served(ok, failed uint64, durations map[int]uint64) *api.Measures {
	return &api.Measures{Requests: []api.ProcessRequests{
		{Process: "web", Generation: 0, Requests: api.Requests{Status2xx: 1e6}},
		{Process: "web", Generation: 3, Requests: api.Requests{Status2xx: ok, Status5xx: failed}, Durations: durations},
		{Process: "api", Generation: 3, Requests: api.Requests{Status2xx: ok}, Durations: durations},
	}}
}

func TestRatesAreOfTheLastSeconds(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	var r Rates
	r.Add(start, served(1000, 500, map[int]uint64{300: 1000}))
	if _, known := r.Of(3); known {
		t.Error("one moment makes a rate")
	}
	for i := range uint64(60) {
		r.Add(start.Add(time.Duration(i+1)*time.Second), served(1000+45*(i+1), 500+10*(i+1), map[int]uint64{300: 1000, 20: 45 * (i + 1)}))
	}
	got, known := r.Of(3)
	if want := (Rate{PerSecond: 100, Failed: 0.1, P50: got.P50, P99: got.P50}); !known || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.P50 <= 0 || got.P50 > time.Millisecond {
		t.Errorf("the p50 is %s: it is also of what was counted before", got.P50)
	}
	if n := len(r.samples); n > 12 {
		t.Errorf("%d moments are kept", n)
	}
	if _, known := r.Of(4); known {
		t.Error("a generation that does not exist has a rate")
	}
}

func TestAGenerationThatIsNewHasARateFromItsBeginning(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	var r Rates
	r.Add(start, new(api.Measures))
	r.Add(start.Add(2*time.Second), served(10, 0, nil))
	if got, known := r.Of(3); !known || got.PerSecond != 10 || got.P99 != 0 {
		t.Errorf("%+v, %t", got, known)
	}
	r.Add(start.Add(3*time.Second), served(1, 0, nil)) // another app of that name
	if got, _ := r.Of(3); got.PerSecond < 0 || got.PerSecond > 10 {
		t.Errorf("%+v", got)
	}
}
