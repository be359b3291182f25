//go:build linux

package lookcommand

import (
	"strings"
	"testing"

	"superctl/api"
)

func TestTheStatusSaysWhatUsersGot(t *testing.T) {
	seconds := func(s float64) *float64 { return &s }
	some := &api.Requests{
		Started: 1240, Status2xx: 1233, Status5xx: 3, Aborted: 2, InFlight: 2, P50: seconds(0.012), P99: seconds(0.08),
	}
	many := &api.Requests{
		Started: 123456789, Status2xx: 123456000, Status5xx: 7, Broken: 1234, Aborted: 12345, Lost: 99, InFlight: 1000,
		P50: seconds(0.0004), P99: seconds(61),
	}
	uwsgi := []api.Uncounted{{Process: "web", Server: "uwsgi"}}
	for name, c := range map[string]struct {
		of   api.GenerationStatus
		want string
	}{
		"many things": {
			api.GenerationStatus{Requests: some},
			"requests 1,240: 5xx 3 (0.2 %), aborted 2, 2 in flight; p50 12 ms, p99 80 ms",
		},
		"everything, and many of it": {
			api.GenerationStatus{Requests: many},
			"requests 123,456,789: 5xx 7 (<0.1 %), broken 1,234, aborted 12,345, lost 99, 1,000 in flight; p50 0.4 ms, p99 1 min 1 s",
		},
		"nothing went wrong": {
			api.GenerationStatus{Requests: &api.Requests{Started: 5, Status2xx: 5, P50: seconds(0.0096), P99: seconds(0.01)}},
			"requests 5: 5xx 0; p50 9.6 ms, p99 10 ms",
		},
		"no request yet": {api.GenerationStatus{Requests: &api.Requests{}}, "requests 0"},
		"not counted":    {api.GenerationStatus{Uncounted: uwsgi}, "requests: not counted (uwsgi)"},
		"one process of two": {
			api.GenerationStatus{
				Requests: &api.Requests{}, Uncounted: []api.Uncounted{{Process: "api", Server: "generic"}},
			},
			"requests 0\nrequests of api: not counted (unknown server)",
		},
		"no process with a listener": {api.GenerationStatus{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			named := make(map[api.Uncounted]bool)
			if got := strings.Join(requestLines(&c.of, named), "\n"); got != c.want {
				t.Errorf("%s\nnot\n%s", got, c.want)
			}
			if again := requestLines(&c.of, named); len(again) > 0 && strings.Contains(again[len(again)-1], "not counted") {
				t.Errorf("it says again: %s", again)
			}
		})
	}
}

func TestTheLineOfAUsualSiteFitsAnOrdinaryTerminal(t *testing.T) {
	seconds := func(s float64) *float64 { return &s }
	text := requestsText(&api.Requests{
		Started: 1240, Status2xx: 1233, Status5xx: 3, Aborted: 2, InFlight: 2, P50: seconds(0.012), P99: seconds(0.08),
	})
	if n := len(requestsIndent + text); n > 80 {
		t.Errorf("%d columns", n)
	}
}
