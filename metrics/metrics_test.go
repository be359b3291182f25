//go:build linux

package metrics

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/host"
)

// of returns a host whose apps have these figures, and one app whose daemon does not answer.
func of(measured ...api.Measures) Ask {
	apps := []host.Measured{{App: host.App{Name: "gone", Error: "it does not run"}}}
	for _, m := range measured {
		apps = append(apps, host.Measured{App: host.App{Name: m.Status.App, Running: true, Status: &m.Status}, Measures: m})
	}
	return func(context.Context) ([]host.Measured, error) { return apps, nil }
}

// serving is an app in the middle of a switch with a canary.
func serving() api.Measures {
	at := time.Unix(1_800_000_000, 0)
	web := func(generation int, release string, ok uint64) api.ProcessRequests {
		return api.ProcessRequests{
			Process: "web", Generation: generation, Release: release, Durations: map[int]uint64{0: ok, 399: 1},
			Requests: api.Requests{Started: ok + 3, Status2xx: ok, Status5xx: 1, Lost: 1, InFlight: 1},
		}
	}
	return api.Measures{
		Status: api.Status{
			App: "shop", Release: "r41", Generation: 7, Health: api.HealthOK, Since: at, LiveSince: at,
			Changing:  &api.ChangeStatus{Canary: &api.CanaryStatus{Share: 5}},
			Processes: []api.ProcessStatus{{Name: "web", Wanted: 2, Ready: 1}},
			Listeners: []api.ListenerStatus{{Name: "web", Queue: 3, QueueLimit: 2048}},
			Generations: []api.GenerationStatus{{
				ID: 7, Release: "r41", State: string(api.Live), Connections: 4, Workers: []api.WorkerStatus{
					{Process: "web", Instance: 0, MemoryBytes: 100, Restarts: 2}, {Process: "web", Instance: 1, MemoryBytes: 50},
				},
			}},
		},
		Requests: []api.ProcessRequests{web(0, "", 1000), web(7, "r41", 100), web(8, "r42\xff", 10)},
		Changes:  []api.ChangeTotal{{Kind: "switch", Outcome: api.Done, Count: 2, Seconds: 9, Within: []uint64{0, 0, 2, 2, 2, 2, 2, 2, 2, 2}}},
	}
}

func text(t *testing.T, ask Ask) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, ask); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAnAppIsDescribedByMetrics(t *testing.T) {
	got := text(t, of(serving()))
	for _, want := range []string{
		`superctl_up{app="gone"} 0`, `superctl_up{app="shop"} 1`, `superctl_search_failed 0`,
		`superctl_health{app="shop",health="ok"} 1`, `superctl_health{app="shop",health="down"} 0`,
		`superctl_release_info{app="shop",commit="",generation="7",release="r41"} 1`,
		`superctl_release_live_since_timestamp_seconds{app="shop",release="r41"} 1.8e+09`,
		`superctl_canary_share_ratio{app="shop"} 0.05`, `superctl_change_in_progress{app="shop"} 1`,
		`superctl_workers_wanted{app="shop",process="web"} 2`, `superctl_workers_ready{app="shop",process="web"} 1`,
		`superctl_listener_queue_length{app="shop",listener="web"} 3`,
		`superctl_generation_memory_bytes{app="shop",generation="7",process="web",release="r41"} 150`,
		`superctl_worker_restarts_total{app="shop",generation="7",process="web",release="r41",worker="0"} 2`,
		`superctl_changes_total{app="shop",kind="switch",outcome="done"} 2`,
		// increase() of a counter that begins at 1 is 0: an alert must see the 0 before the first revert
		`superctl_changes_total{app="shop",kind="switch",outcome="reverted"} 0`,
		`superctl_changes_total{app="shop",kind="reload",outcome="aborted"} 0`,
		`superctl_change_duration_seconds_bucket{app="shop",kind="switch",outcome="done",le="2.5"} 0`,
		`superctl_change_duration_seconds_bucket{app="shop",kind="switch",outcome="done",le="5"} 2`,
		`superctl_change_duration_seconds_sum{app="shop",kind="switch",outcome="done"} 9`,
		// of all generations, also of those that are gone
		`superctl_requests_total{app="shop",code="2xx",process="web"} 1110`,
		`superctl_requests_total{app="shop",code="lost",process="web"} 3`,
		`superctl_request_duration_seconds_bucket{app="shop",process="web",le="0.001"} 1110`,
		`superctl_request_duration_seconds_bucket{app="shop",process="web",le="60"} 1110`,
		`superctl_request_duration_seconds_bucket{app="shop",process="web",le="+Inf"} 1113`,
		`superctl_generation_requests_total{app="shop",code="2xx",generation="7",process="web",release="r41"} 100`,
		`superctl_generation_requests_total{app="shop",code="2xx",generation="8",process="web",release="r42` + "\uFFFD" + `"} 10`,
		`superctl_requests_in_flight{app="shop",generation="7",process="web",release="r41"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(got, `generation="0"`) {
		t.Error("what is gone is shown as a generation")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestTheTotalsOfAnAppDoNotFallWhenAGenerationEnds(t *testing.T) {
	before := serving()
	after := serving()
	gone, ended := &after.Requests[0], after.Requests[1]
	gone.Requests.Status2xx += ended.Requests.Status2xx
	gone.Durations[0] += ended.Durations[0]
	after.Requests = append(after.Requests[:1], after.Requests[2])
	for _, m := range []api.Measures{before, after} {
		got := text(t, of(m))
		for _, want := range []string{
			`superctl_requests_total{app="shop",code="2xx",process="web"} 1110`,
			`superctl_request_duration_seconds_bucket{app="shop",process="web",le="0.001"} 1110`,
		} {
			if !strings.Contains(got, want+"\n") {
				t.Errorf("%s is missing:\n%s", want, got)
			}
		}
	}
}

func TestTwoDaemonsOfOneAppDoNotSpoilTheScrape(t *testing.T) {
	twice := of(serving(), serving())
	if got := text(t, twice); strings.Count(got, `superctl_up{app="shop"} 1`) != 1 {
		t.Error(got)
	}
	unreadable := func(ctx context.Context) ([]host.Measured, error) {
		apps, _ := twice(ctx)
		return apps, errors.New("find apps: permission denied")
	}
	if got := text(t, unreadable); !strings.Contains(got, "superctl_search_failed 1\n") || !strings.Contains(got, `superctl_up{app="shop"} 1`) {
		t.Error(got)
	}
}

func TestPrometheusGetsOpenMetrics(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	w := httptest.NewRecorder()
	Handler(of(serving())).ServeHTTP(w, r)
	body := w.Body.String()
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") ||
		!strings.HasSuffix(body, "# EOF\n") || !strings.Contains(body, "# TYPE superctl_requests counter\n") {
		t.Errorf("%d %s\n%s", w.Code, w.Header().Get("Content-Type"), body)
	}
}

func TestAnAddressIsCheckedBeforeItIsServed(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:9797": "", "[::1]:9797": "", "localhost:0": "", "unix:/run/x.sock": "",
		":9797":     ":9797: the host is missing: use 127.0.0.1:9797",
		"9797":      `"9797": not HOST:PORT or unix:PATH: use 127.0.0.1:9797`,
		"unix:x":    "unix:x: the path does not begin with /: use unix:/run/superctl-metrics.sock",
		"127.0.0.1": `"127.0.0.1": not HOST:PORT or unix:PATH: use 127.0.0.1:9797`,
	} {
		_, err := ParseAddress(text)
		if err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestMetricsAreServedOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a, err := ParseAddress("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces what the first may have left
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan string, 1), make(chan error, 1)
		go func() { ended <- Serve(ctx, a, Handler(of(serving())), func(at string) { ready <- at }) }()
		<-ready
		client := http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		}}
		for path, code := range map[string]int{"/metrics": http.StatusOK, "/": http.StatusNotFound} {
			resp, err := client.Get("http://superctl" + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != code {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), a, http.NotFoundHandler(), nil); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("it replaces a file: %v", err)
	}
}
