//go:build linux

package lookcommand

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/terminal"
	"superctl/host"
)

// apps are the apps of a host on which not all is well.
func apps(now time.Time) []host.App {
	shop := busy(now)
	shop.Processes = []api.ProcessStatus{{Name: "web", Wanted: 1, Ready: 1}, {Name: "worker", Wanted: 40, Ready: 39}}
	shop.Requests = &api.Requests{Started: 1234567, Status2xx: 1234000, Status5xx: 12, InFlight: 555}
	shop.Health, shop.Reason = api.HealthDegraded, "worker.39 has failed 1234 times: exit code 1"
	shop.Troubles = []api.Trouble{{Of: "notify.team", Why: "no route to hooks.example.com"}, {Of: "worker", Why: shop.Reason}}
	blog := &api.Status{
		App: "blog", Release: "r41", Health: api.HealthOK, LiveSince: now.Add(-time.Minute),
		Changing: &api.ChangeStatus{Kind: "switch", Release: "r42", Step: api.StepProve, Who: "ann", Since: now.Add(-2 * time.Second)},
	}
	return []host.App{
		{Name: "api", Error: "the daemon cannot be reached: the socket /run/superctl/api.sock does not exist. " +
			"Is the daemon running? (systemctl status superctl@api)"},
		{Name: "blog", Running: true, Status: blog},
		{Name: "intranet", Running: true, Error: "the daemon cannot be reached: permission denied for /run/superctl/intranet.sock. Use sudo"},
		{Name: "shop", Running: true, Status: shop},
	}
}

func TestTheAppsOfAHostAreListedWithWhatIsWrong(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(80)
	appTable(apps(now), false, now).Write(b, "")
	const want = `APP       RELEASE        HEALTH    LIVE FOR  WORKERS   REQUESTS   5XX
api       -              stopped   -         -         -          -
            the daemon cannot be reached: the socket /run/superctl/api.sock does
            not exist. Is the daemon running? (systemctl status superctl@api)
blog      r41            ok        1 min     0 of 0    -          -
            changing: switch to r42 by ann, step prove, started 2 s ago
intranet  -              unknown   -         -         -          -
            the daemon cannot be reached: permission denied for
            /run/superctl/intranet.sock. Use sudo
shop      2026-11-28-12  degraded  3 h       40 of 41  1,234,567  12 (<0.1 %)
            worker.39 has failed 1234 times: exit code 1
            notify.team: no route to hooks.example.com
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	for _, p := range []terminal.Palette{false, true} {
		list := apps(now)
		list[3].Status.Release = "feature-checkout-redesign-with-a-very-long-name-2026-11-25T10.30.00Z-9f3c2ab"
		b := terminal.NewText(80)
		appTable(list, p, now).Write(b, "")
		if long := longLines(b.String(), 80); long != nil {
			t.Errorf("longer than 80 columns:\n%s", strings.Join(long, ""))
		}
	}
}

func TestTheExitCodeOfAListIsThatOfTheWorstApp(t *testing.T) {
	app := func(health string) host.App { return host.App{Status: &api.Status{Health: health}} }
	ok, degraded, down, unknown := app(api.HealthOK), app(api.HealthDegraded), app(api.HealthDown), host.App{}
	for name, c := range map[string]struct {
		apps       []host.App
		unreadable error
		code       int
	}{
		"none":                        {nil, nil, 0},
		"ok":                          {[]host.App{ok, ok}, nil, 0},
		"degraded":                    {[]host.App{ok, degraded}, nil, 1},
		"unknown":                     {[]host.App{degraded, unknown, ok}, nil, 3},
		"down":                        {[]host.App{unknown, down, degraded}, nil, 2},
		"a directory is not readable": {[]host.App{ok}, errors.New("find apps: permission denied"), 3},
	} {
		for _, asked := range []bool{true, false} {
			set := flag.NewFlagSet("ls", flag.ContinueOnError)
			set.Bool("exit-code", asked, "")
			code, err := 0, hostCode(cli.NewContext(nil, set, nil), c.apps, c.unreadable)
			var exit *commandline.ExitError
			if errors.As(err, &exit) {
				code = exit.Code
			}
			if want := map[bool]int{true: c.code}[asked]; code != want {
				t.Errorf("%s, with --exit-code=%t: %d, not %d", name, asked, code, want)
			}
		}
	}
}

func TestTheScreenOfTopFitsAnOrdinaryTerminal(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	shop := api.Status{
		App: "shop", Release: "r42", Generation: 7, Health: api.HealthOK,
		Changing: &api.ChangeStatus{
			Kind: "switch", Release: "r43", Step: api.StepCanary, Who: "ann", Since: now.Add(-12 * time.Second),
			Canary: &api.CanaryStatus{Share: 5},
		},
		Listeners: []api.ListenerStatus{{Name: "web", Generation: 7, Canary: 8}},
		Generations: []api.GenerationStatus{
			{ID: 7, Release: "r42", State: string(api.Live), MemoryBytes: 478e6, Requests: &api.Requests{InFlight: 2}},
			{ID: 8, Release: "feature-checkout-redesign-9f3c2ab", State: string(api.Staged), MemoryBytes: 471e6, Workers: []api.WorkerStatus{{Restarts: 1}}},
		},
	}
	web := func(ok, failed uint64) []api.ProcessRequests {
		return []api.ProcessRequests{{
			Process: "web", Generation: 7, Requests: api.Requests{Status2xx: ok, Status5xx: failed}, Durations: map[int]uint64{150: ok},
		}}
	}
	rates := new(host.Rates)
	rates.Add(now.Add(-10*time.Second), &api.Measures{Requests: web(1000, 5)})
	rates.Add(now, &api.Measures{Requests: web(1990, 15)})
	v := topView{at: now, rates: map[string]*host.Rates{"s": rates}, apps: []host.Measured{
		{App: host.App{Name: "api", Error: "the daemon cannot be reached: it is not there"}},
		{App: host.App{Name: "shop", Control: "s", Running: true, Status: &shop}},
	}}
	got := strings.Join(v.lines(80)[1:], "\n")
	const want = `
APP  RELEASE            STATE      REQ/S ERRORS P50   P99   OPEN MEMORY RESTARTS
api  -                  stopped    -     -      -     -     -    -      -
       the daemon cannot be reached: it is not there
shop r42                live 95 %  100.0 1.0 %  24 ms 24 ms 2    478 MB 0
     feature-c…-9f3c2ab canary 5 % -     -      -     -     -    471 MB 1
       changing: switch to r43 by ann, step canary (5 %), started 12 s ago`
	if long := longLines(got, 80); long != nil || got != want {
		t.Errorf("longer than 80 columns: %q; got:\n%s\nwant:\n%s", long, got, want)
	}

	// A control: r42 has a part of the connections still.
	shop.Generation, shop.Release = 8, "feature-checkout-redesign-9f3c2ab"
	shop.Generations[0].State, shop.Generations[1].State = string(api.Standby), string(api.Live)
	shop.Listeners[0] = api.ListenerStatus{Name: "web", Generation: 8, Canary: 7}
	shop.Changing.Canary, shop.Changing.OldShare, shop.Changing.Step = nil, 20, api.StepProbation
	got = strings.Join(v.lines(80)[5:7], "\n")
	const control = `shop r42              control 20 % 100.0 1.0 %  24 ms 24 ms 2    478 MB 0
     feature-…9f3c2ab live 80 %    -     -      -     -     -    471 MB 1`
	if long := longLines(got, 80); long != nil || got != control {
		t.Errorf("longer than 80 columns: %q; got:\n%s\nwant:\n%s", long, got, control)
	}
}

func TestAppsThatNeedAttentionAreOnAScreenTooSmallForAll(t *testing.T) {
	v := topView{rates: map[string]*host.Rates{"": new(host.Rates)}}
	for i := range 30 {
		v.apps = append(v.apps, host.Measured{App: host.App{Name: fmt.Sprintf("app%02d", i), Running: true, Status: &api.Status{
			Health: api.HealthOK, Generations: []api.GenerationStatus{{Release: "r1", State: string(api.Live)}},
		}}})
	}
	v.apps[20].Status.Changing = &api.ChangeStatus{Kind: "switch", Release: "r2"}
	v.apps[27].Status.Health = api.HealthDegraded
	v.apps[29] = host.Measured{App: host.App{Name: "app29", Error: "the daemon cannot be reached"}}
	first := func(rows int) (names []string) {
		for _, line := range v.screen(80, rows)[3:] {
			if name, _, _ := strings.Cut(line, " "); name != "" {
				names = append(names, name)
			}
		}
		return names[:4]
	}
	if got, want := first(60), []string{"app00", "app01", "app02", "app03"}; !slices.Equal(got, want) {
		t.Errorf("on a screen for all: %q", got)
	}
	if got, want := first(24), []string{"app20", "app27", "app29", "app00"}; !slices.Equal(got, want) {
		t.Errorf("on a small screen: %q", got)
	}
}

func TestTopLeavesColumnsOutOnANarrowTerminal(t *testing.T) {
	v := topView{rates: map[string]*host.Rates{"": new(host.Rates)}}
	for i := range 30 {
		v.apps = append(v.apps, host.Measured{App: host.App{
			Name: fmt.Sprintf("application-with-a-long-name-%d", i), Running: true, Status: &api.Status{
				Health:      api.HealthOK,
				Generations: []api.GenerationStatus{{Release: "2026-11-23-1", State: string(api.Live), MemoryBytes: 478e6}},
			},
		}})
	}
	lines := v.lines(60)
	if long := longLines(strings.Join(lines, "\n"), 60); long != nil {
		t.Errorf("longer than 60 columns: %q", long)
	}
	if len(lines) != 3+30 || !strings.HasPrefix(lines[2], "APP ") || !strings.Contains(lines[2], "RELEASE") ||
		!strings.Contains(lines[2], "STATE") || !strings.Contains(lines[2], "ERRORS") || strings.Contains(lines[2], "P50") {
		t.Errorf("not a row for each app:\n%s", strings.Join(lines[:min(6, len(lines))], "\n"))
	}
}

func TestTopWithoutAppsSaysHowToHaveOne(t *testing.T) {
	var v topView
	if text := strings.Join(v.screen(60, 24), " "); !strings.Contains(text, "no apps on this host") || strings.Contains(text, "RELEASE") {
		t.Errorf("%s", text)
	}
}
