package fleet

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

func maintain(ctx context.Context, f *fakeFleet, page *api.MaintenancePage, change func(*Plan)) *Result {
	plan := deployPlan(f)
	plan.Bundle, plan.Page = nil, page
	if change != nil {
		change(&plan)
	}
	return Maintain(ctx, plan, f, Limits{}, func(Progress) {})
}

func somePage() *api.MaintenancePage {
	return &api.MaintenancePage{
		Body: []byte("<h1>noon</h1>"), RetryAfter: 10 * time.Minute, Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
}

// shows checks how a run of maintenance ended, and on which hosts users get the page.
func shows(t *testing.T, f *fakeFleet, res *Result, exit int, hosts string) {
	t.Helper()
	synctest.Wait()
	if res.Exit != exit || len(res.Warnings) > 0 {
		t.Errorf("exit %d instead of %d: %s %v", res.Exit, exit, res.Error, res.Warnings)
	}
	var on []string
	for _, name := range slices.Sorted(maps.Keys(f.hosts)) {
		switch f.hosts[name].page {
		case "10m0s 192.0.2.0/24 <h1>noon</h1>":
			on = append(on, name)
		case "":
		default:
			t.Errorf("users of %s get %q", name, f.hosts[name].page)
		}
	}
	if got := strings.Join(on, " "); got != hosts {
		t.Errorf("users get the page on %q instead of %q", got, hosts)
	}
}

func TestMaintenanceIsOnAndOffOnAllHosts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		began := time.Now()
		res := maintain(t.Context(), f, somePage(), nil)
		shows(t, f, res, api.ExitDone, "web1 web2 web3")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the page was on after %s: not at once", took)
		}
		again := maintain(t.Context(), f, somePage(), nil)
		shows(t, f, again, api.ExitDone, "web1 web2 web3")
		if !res.Changed || again.Changed || res.Maintenance != "on" {
			t.Errorf("the first and the second run say %+v and %+v", res, again)
		}
		shows(t, f, maintain(t.Context(), f, nil, nil), api.ExitDone, "")
		idle(t, f)
		want := []string{"web1: maintenance on done on web1,web2,web3", "web1: maintenance off done on web1,web2,web3"}
		if !slices.Equal(f.told, want) || f.leaders != 3 {
			t.Errorf("the team was told %q, and %d hosts would tell it themselves in 3 runs", f.told, f.leaders)
		}
	})
}

func TestAHostThatIsDownKeepsNoOtherFromMaintenance(t *testing.T) {
	for _, down := range []string{"web1", "web2"} {
		t.Run(down, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				f.hosts[down].cutNow()
				others := strings.Replace("web1 web2 web3", down, "", 1)
				others = strings.Join(strings.Fields(others), " ")
				res := maintain(t.Context(), f, somePage(), nil)
				shows(t, f, res, api.ExitUnreachable, others)
				if res.Result != api.Done || !strings.Contains(res.Error, down+": connect: timed out") || f.leaders != 1 {
					t.Errorf("the result is %+v, with %d leaders", res, f.leaders)
				}
				f.hosts[down].mend()
				shows(t, f, maintain(t.Context(), f, somePage(), nil), api.ExitDone, "web1 web2 web3")
			})
		})
	}
}

func TestAHostThatIsLostInMaintenanceIsUnknown(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.aboutTo = func(what string) {
			if what == "web2 maintenance" {
				f.hosts["web2"].cutNow()
			}
		}
		res := maintain(t.Context(), f, somePage(), nil)
		if res.Exit != api.ExitUnreachable || res.Hosts[1].State != Unknown || res.Hosts[2].State != Done {
			t.Errorf("the result is %+v", res)
		}
		idle(t, f)
	})
}

func TestMaintenanceWaitsForNoOtherRun(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].lease, f.hosts["web3"].leaseBy = "another", "bob@desk"
		res := maintain(t.Context(), f, somePage(), nil)
		shows(t, f, res, api.ExitBusy, "")
		if !strings.Contains(res.Error, "web3: locked for run another by bob@desk") || res.Result != api.Aborted {
			t.Errorf("the result is %+v", res)
		}
		f.hosts["web3"].lease = ""
		f.aboutTo = func(what string) { // another run is faster
			if what == "web2 lock" {
				f.hosts["web2"].mu.Lock()
				f.hosts["web2"].lease, f.hosts["web2"].leaseBy = "another", "bob@desk"
				f.hosts["web2"].mu.Unlock()
			}
		}
		res = maintain(t.Context(), f, somePage(), nil)
		shows(t, f, res, api.ExitBusy, "")
		if res.Error != "web2: locked by bob@desk" || len(f.told) > 0 {
			t.Errorf("the result is %+v, and the team was told %q", res, f.told)
		}
	})
}

func TestAHostThatRefusesKeepsNoOtherFromMaintenance(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		shows(t, f, maintain(t.Context(), f, somePage(), nil), api.ExitDone, "web1 web2 web3")
		f.hosts["web2"].refuses = "maintenance"
		res := maintain(t.Context(), f, nil, nil)
		shows(t, f, res, api.ExitAborted, "web2")
		if res.Error != "web2: it does not answer" || res.Hosts[1].State != Refused {
			t.Errorf("the result is %+v", res)
		}
		if last := f.told[len(f.told)-1]; last != "web1: maintenance off done on web1,web3 behind web2" {
			t.Errorf("the team was told %q", last)
		}
	})
}

func TestAnInterruptedMaintenanceIsOnEverywhereOrNowhere(t *testing.T) {
	for at, hosts := range map[string]string{"web2 lock": "", "web2 maintenance": "web1 web2 web3"} {
		t.Run(at, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				ctx, interrupt := context.WithCancel(t.Context())
				f.aboutTo = func(what string) {
					if what == at {
						interrupt()
					}
				}
				exit := api.ExitAborted
				if hosts != "" {
					exit = api.ExitDone
				}
				shows(t, f, maintain(ctx, f, somePage(), nil), exit, hosts)
				idle(t, f)
			})
		})
	}
}

func TestAHostThatIsLeftOutIsNotAsked(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web2"].cutNow()
		res := maintain(t.Context(), f, somePage(), func(p *Plan) {
			p.Hosts, p.Without = []string{"web1", "web3"}, []string{"web2"}
		})
		shows(t, f, res, api.ExitBehind, "web1 web3")
	})
}

func TestADeployBehindThePageBegins(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		for _, h := range f.hosts {
			h.health, h.behindPage = "degraded", "ok"
		}
		ends(t, f, deploy(f, nil), api.ExitDone, "2", "2", "2")
		f.hosts["web2"].behindPage = "down"
		res := deploy(f, func(p *Plan) { p.Run, p.Release, p.Bundle = "run-2", "1", nil })
		ends(t, f, res, api.ExitAborted, "2", "2", "2")
		if !strings.Contains(res.Error, "web2: it is down") {
			t.Errorf("the error is %q", res.Error)
		}
	})
}
