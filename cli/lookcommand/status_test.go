//go:build linux

package lookcommand

import (
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
	"superctl/version"
)

// longLines returns the lines of text that are longer than width.
func longLines(text string, width int) (long []string) {
	for line := range strings.Lines(text) {
		if terminal.Width(strings.TrimSuffix(line, "\n")) > width {
			long = append(long, line)
		}
	}
	return long
}

// busy is the status of an app with long names, many workers and two generations.
func busy(now time.Time) *api.Status {
	web := api.WorkerStatus{
		Process: "web", PID: 1234567, State: string(api.InstanceReady), Since: now.Add(-50 * time.Minute),
		MemoryBytes: 456 << 20,
	}
	workers := []api.WorkerStatus{web}
	for i := range 40 {
		workers = append(workers, api.WorkerStatus{
			Process: "worker", Instance: i, PID: 1234568 + i, State: string(api.InstanceReady), Since: now.Add(-time.Hour),
			MemoryBytes: 40e6,
		})
	}
	workers[40].State, workers[40].Restarts, workers[40].PID = string(api.InstanceBackoff), 1234, 0
	const long = "feature-checkout-redesign-with-a-very-long-name-2026-11-25T10.30.00Z-9f3c2ab"
	return &api.Status{
		App: "shop", Release: "2026-11-28-12", Generation: 1234, Health: "ok", LiveSince: now.Add(-3 * time.Hour),
		LiveBy: "anna", LiveOrigin: &api.Origin{}, Previous: long, Version: version.String(), PID: 4711,
		Since: now.Add(-50 * 24 * time.Hour), Containment: "cgroups",
		Generations: []api.GenerationStatus{
			{ID: 1234, Release: "2026-11-28-12", State: string(api.Live), Connections: 12, Workers: workers},
			{ID: 1233, Release: long, State: string(api.Draining), Connections: 1, Workers: []api.WorkerStatus{web}},
		},
		Listeners: []api.ListenerStatus{
			{Name: "web", Address: "127.0.0.1:8000", Gate: "steer", Generation: 1234, Queue: 3, QueueLimit: 2048},
		},
	}
}

func TestTheStatusSaysThatTheDaemonWaitsForTheOldServer(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(80)
	writeStatus(b, &api.Status{
		App: "shop", Health: "down", Waiting: true, Version: version.String(), PID: 4711, Since: now,
		Reason: "waiting for the old server: gunicorn (pid 812, sync workers) still serves 127.0.0.1:8000",
	}, false, now)
	const want = `shop: no release is live yet
  waiting for the old server: gunicorn (pid 812, sync workers) still serves
    127.0.0.1:8000
  superctl takeover switches to a release; if the old server ends before, the
    daemon starts one by itself
`
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("it is\n%s", b)
	}
}

func TestTheStatusOfAFirstStartNamesNoRelease(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(80)
	writeStatus(b, &api.Status{
		App: "shop", Health: "down", Reason: "no release is live", Version: version.String(), PID: 4711, Since: now,
		Changing: &api.ChangeStatus{Kind: string(api.Switch), Release: "r1", Step: api.StepBoot, Since: now},
	}, false, now)
	if !strings.HasPrefix(b.String(), "shop: down\n  no release is live\n") {
		t.Errorf("it is\n%s", b)
	}
}

func TestTheStatusSaysWhyTheFirstStartFails(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(80)
	writeStatus(b, &api.Status{
		App: "shop", Health: "down", StartFailed: true, Version: version.String(), PID: 4711, Since: now,
		Reason: "a release should be live and is not: resolve: the link current leads to no release",
	}, false, now)
	const want = `shop: no release is live
  a release should be live and is not: resolve: the link current leads to no
    release
  The daemon keeps trying; superctl switch RELEASE starts another release
`
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("it is\n%s", b)
	}
}

func TestTheStatusSaysOnceHowManyWorkersAreReady(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for reason, want := range map[string]int{
		"web: 0 of 1 ready: web.0 ended after 1.0 s: exit code 3 (started again 5 times)": 1,
		"listener web: the kernel cannot steer":                                           1,
	} {
		b := terminal.NewText(80)
		writeStatus(b, &api.Status{
			App: "shop", Release: "r1", Health: "down", Reason: reason, Version: version.String(), Since: now,
			Processes: []api.ProcessStatus{{Name: "web", Wanted: 1, Configured: 1}},
		}, false, now)
		if got := strings.Count(b.String(), "0 of 1 ready"); got != want {
			t.Errorf("%d times, want %d:\n%s", got, want, b)
		}
	}
}

func TestTheStatusFitsAnOrdinaryTerminal(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(80)
	writeStatus(b, busy(now), false, now)
	const want = `shop: 2026-11-28-12, ok, live for 3 h, by anna, previous
  feature-checkout-redesign-with-a-very-long-name-2026-11-25T10.30.00Z-9f3c2ab

  generation 1234: 2026-11-28-12, live, 12 connections
    WORKER          PID         STATUS   SINCE       RESTARTS  MEMORY
    web.0           1234567     ready    50 min ago  0         478 MB
    worker.0 to 38  39 workers  ready    1 h ago     0         1.6 GB
    worker.39       -           backoff  1 h ago     1234      40 MB

  generation 1233:
    feature-checkout-redesign-with-a-very-long-name-2026-11-25T10.30.00Z-9f3c2ab,
    draining, 1 connection
    WORKER  PID      STATUS  SINCE       RESTARTS  MEMORY
    web.0   1234567  ready   50 min ago  0         478 MB

  LISTENER  ADDRESS         GATE   GENERATION  QUEUE
  web       127.0.0.1:8000  steer  1234        3 of 2048

  daemon ` + "VERSION" + `, pid 4711, started 50 days ago; workers in cgroups
`
	if got := strings.ReplaceAll(b.String(), version.String(), "VERSION"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, columns := range []int{80, 40} {
		for _, p := range []terminal.Palette{false, true} {
			b := terminal.NewText(columns)
			st := busy(now)
			st.Previous, st.Generations[1].Release = "2026-11-27-11-hotfix", "2026-11-27-11-hotfix"
			writeStatus(b, st, p, now)
			if long := longLines(b.String(), columns); long != nil {
				t.Errorf("longer than %d columns:\n%s", columns, strings.Join(long, ""))
			}
		}
	}
}

func TestTheStatusListsEachWorkerForOtherPrograms(t *testing.T) {
	now := time.Now()
	b := terminal.NewText(0)
	writeStatus(b, busy(now), false, now)
	for _, text := range []string{"worker.0 ", "worker.38 ", "worker.39 ", "1234605"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("%q is missing:\n%s", text, b.String())
		}
	}
}

func TestTheStatusNamesAnUpgradeThatIsInstalled(t *testing.T) {
	b := terminal.NewText(0)
	st := busy(time.Now())
	st.Version = "0.0.9"
	writeStatus(b, st, false, time.Now())
	if want := "superctl " + version.String() + " is installed: superctl upgrade replaces the daemon"; !strings.Contains(b.String(), want) {
		t.Errorf("%q is missing:\n%s", want, b.String())
	}
}
