//go:build linux

package cli

import (
	"errors"
	"flag"
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
