package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"syscall"
	"time"

	"superctl/api"
	"superctl/supervisor/health"
)

// The times of a plan are short, so that a run has many changes.
const (
	simDrain        = 6 * time.Second
	simStart        = 15 * time.Second
	simHold         = 20 * time.Second
	simHealthyAfter = 2
)

func (d *simDaemon) resolve(_ context.Context, t Target) (Plan, error) {
	if !d.edge("resolve") {
		return Plan{}, errSimDead
	}
	name := t.Word
	switch t.Kind {
	case start:
		name = d.m.pointed()
		if t.Live != nil {
			name = t.Live.Name
		}
		if name == "" {
			return Plan{}, &NoReleaseError{"no release was live"}
		}
	case Reload:
		name = t.Live.Name
	case Rollback:
		name = t.Previous.Name
	}
	return d.m.plan(name), nil
}

// simPage is a maintenance page.
func simPage(api.MaintenanceStatus, []byte) (Process, error) {
	return Process{
		Command: []string{"page", "page"}, StopSignal: int(syscall.SIGTERM), Drain: simDrain, StartTimeout: simStart,
		Health: &health.Policy{
			Check:    health.Check{Protocol: "http", Path: "/", Status: []int{200}, Timeout: 2 * time.Second},
			Interval: 250 * time.Millisecond, HealthyAfter: simHealthyAfter,
		},
	}, nil
}

// plan is a reading of the config: each is another one.
func (m *sim) plan(release string) Plan {
	m.mu.Lock()
	m.readings++
	config := fmt.Sprint("reading-", m.readings)
	m.mu.Unlock()
	site := m.sc.Site
	listen := []string{"web", "api"}[:site.Listeners]
	common := Process{
		Instances: 1, StopSignal: int(syscall.SIGTERM), Drain: simDrain, StartTimeout: simStart,
		ReadyAfter: 500 * time.Millisecond,
	}
	if site.Recycle {
		common.Recycle = &Recycle{Memory: 800 << 20, Interval: 2 * time.Second}
	}
	web := common
	web.Name, web.Command, web.Listen, web.Instances, web.Strategy, web.Surge = "web", []string{"serve", config}, listen, site.Instances, site.Web, 1
	web.Health = &health.Policy{
		Check:    health.Check{Protocol: "http", Path: "/", Status: []int{200}, Timeout: 2 * time.Second},
		Interval: 250 * time.Millisecond, HealthyAfter: simHealthyAfter, UnhealthyAfter: 5 * time.Second,
	}
	web.Notify = site.Ready
	if site.Guard {
		web.Guard = &Guard{Points: 0.02, Factor: 2, Control: site.Control, Rate: site.rate()}
	}
	web.Hook = site.Rate != ""
	if site.Always {
		web.Health.Always = &health.Always{Interval: 5 * time.Second, Failures: 3}
	}
	if site.Web == Hold {
		web.Hold, web.HoldPage = cmp.Or(time.Duration(site.Hold)*time.Millisecond, simHold), site.HoldPage
	}
	if site.Web != Hold {
		web.AnswerWait = 2 * time.Second
	}
	if site.Linger {
		web.DrainConnections = 3 * time.Second
	}
	p := Plan{
		Release: Release{
			Name: release, Path: "/r/" + release, Commit: "c-" + release,
		}, Config: config,
		Probation: 6 * time.Second, Settle: 4 * time.Second,
		Hooks: Hooks{
			Before: [][]string{{"before"}}, After: [][]string{{"after"}}, OnAbort: [][]string{{"on_abort"}},
			OnRevert: [][]string{{"on_revert"}}, Timeout: 5 * time.Second,
		},
	}
	if site.Listeners > 0 {
		p.Processes = append(p.Processes, web)
	} else { // its workers show whether a release works
		common.Instances, common.Notify = site.Instances, site.Ready
	}
	if site.Assets {
		p.Assets = []Assets{{Name: "static", From: "static", To: "/srv/static"}}
	}
	if site.Cron != "" {
		p.Cron = []Cron{{
			Name: simCron, Schedule: fmt.Sprintf("*:*:0/%d", int(simCronEvery.Seconds())), Timezone: "UTC",
			Command: []string{simCron}, Overlap: site.Cron, Timeout: simCronLimit,
		}}
	}
	if site.Guard {
		p.Probation = 20 * time.Second
	}
	if site.Standby {
		p.Standby = 25 * time.Second
	}
	if site.Worker != "" {
		w := common
		w.Name, w.Command, w.Strategy, w.Surge = "worker", []string{"work", config}, site.Worker, 1
		if site.Listeners > 0 {
			w.Instances = 2
		}
		p.Processes = append(p.Processes, w)
	}
	if site.Single {
		b := common
		b.Name, b.Command, b.Strategy, b.Instances = "beat", []string{"beat", config}, Single, 1
		if site.After {
			b.After = []string{"worker"}
		}
		p.Processes = append(p.Processes, b)
	}
	return p
}
