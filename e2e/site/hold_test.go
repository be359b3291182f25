package site

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// held returns an app that must not run together with another release of itself. Its migration
// takes as many seconds as the file `seconds` says, and fails if that is not a number.
func held(t *testing.T, front harness.Front) *harness.App {
	t.Helper()
	a := harness.New(t, run, harness.Options{
		Front: front, Top: `probation = "200ms"`, Web: "strategy = \"hold\"\nhold = \"20s\"",
	})
	a.Options.More = fmt.Sprintf("[hooks]\nbefore = [[\"sh\", \"-c\", \"sleep $(cat %s)\"]]\n", a.Path("seconds"))
	a.WriteConfig()
	a.WriteFile("seconds", "0")
	return a
}

// A switch takes 3 s of migration and two boots, and a request waits at most for all of it.
func TestConnectionsWaitDuringAnIncompatibleMigration(t *testing.T) {
	t.Parallel()
	for _, front := range []harness.Front{harness.TCP, harness.NginxUnix} {
		t.Run(front.String(), func(t *testing.T) {
			t.Parallel()
			a := held(t, front)
			a.Releases("r1", "r2")
			a.Start("r1")
			requests := a.Load(load.Config{Rate: 60, Clients: 40, Timeout: time.Minute})
			for i := range 5 {
				a.WriteFile("seconds", map[bool]string{true: "3", false: "0.1"}[i == 0])
				args := []string{"switch", fmt.Sprintf("r%d", 2-i%2)}
				if i == 4 {
					args = []string{"rollback"}
				}
				o := a.Change(0, args...)
				if !o.Changed || len(o.Warnings) > 0 {
					t.Errorf("%+v", o)
				}
				a.More(requests, 5)
			}
			res := a.Lossless(requests)
			if !slices.ContainsFunc(res.Records, func(r load.Record) bool {
				return r.Ended.Sub(r.Begun) > 3*time.Second
			}) {
				t.Error("no request has waited for the migration")
			}
			// Releases that must not run together: the old one answers no request that began after
			// the first answer of the new one.
			slices.SortFunc(res.Records, func(a, b load.Record) int { return a.Ended.Compare(b.Ended) })
			for i, newer := range res.Records {
				for _, r := range res.Records[i+1:] {
					if r.Generation < newer.Generation && r.Begun.After(newer.Ended) {
						t.Fatalf(
							"generation %d answers a request that began after an answer of generation %d: %+v",
							r.Generation, newer.Generation, r,
						)
					}
				}
			}
		})
	}
}

// A switch takes 8 s of migration, and a connection may wait for 4 s.
func TestConnectionsThatWouldWaitTooLongGetThePage(t *testing.T) {
	t.Parallel()
	for _, front := range []harness.Front{harness.TCP, harness.NginxUnix} {
		t.Run(front.String(), func(t *testing.T) {
			t.Parallel()
			a := held(t, front)
			a.Options.Web = "strategy = \"hold\"\nhold = \"4s\"\nhold_page = true"
			a.WriteConfig()
			a.Releases("r1", "r2")
			a.Start("r1")
			requests := a.Load(load.Config{Rate: 60, Clients: 400, Timeout: time.Minute})
			a.WriteFile("seconds", "8")
			began := time.Now()
			change := a.Begin("switch", "r2")
			harness.Eventually(t, "the page is shown", func() bool { return a.Status().Maintenance != nil })
			shown := time.Now()
			a.Command("status", "--json").Want(0).Says(`"hold": true`, `"retry_after": 4000000000`)
			a.Command("status").Want(0).Says("new connections get the maintenance page")
			a.More(requests, 50)
			change.Wait().Want(0).Says("new connections got the maintenance page for ", "hold = 4 s")
			over := time.Now()
			a.More(requests, 50)
			res := requests.Stop()
			if n := statuses(t, res, load.Window{Began: shown, Ended: over}); n[503] < 50 {
				t.Errorf("during the page: %v", n)
			}
			if n := statuses(t, res, load.Window{Began: over, Ended: res.Ended}); n[200] == 0 || len(n) != 1 {
				t.Errorf("after the switch: %v", n)
			}
			if n := statuses(t, res, load.Window{Ended: began.Add(4 * time.Second)}); n[503] > 0 {
				t.Errorf("while connections may wait: %v", n)
			}
			if !slices.ContainsFunc(res.Records, func(r load.Record) bool {
				return r.Status == 200 && r.Ended.Sub(r.Begun) > 5*time.Second
			}) {
				t.Error("no request has waited for the migration")
			}
			t.Logf("%d requests, %v", len(res.Records), res.Count())
		})
	}
}

func TestAFailedHeldSwitchLosesNoRequest(t *testing.T) {
	t.Parallel()
	a := held(t, harness.TCP)
	a.Releases("r1", "r2")
	a.Release("broken", apps.Behaviour{Fault: apps.ImportError})
	a.Start("r1")
	requests := a.Load(load.Config{Rate: 40, Clients: 40, Timeout: time.Minute})
	a.Command("switch", "broken").Want(1).Says("shop_payments", "r1 is still live")
	a.WriteFile("seconds", "no number")
	a.Command("switch", "r2").Want(1).Says("invalid time interval", "r1 is still live")
	a.WriteFile("seconds", "0")
	slow := slowRequest(t, a, "8")
	a.Options.Web = "strategy = \"hold\"\nhold = \"1s\""
	a.WriteConfig()
	a.Command("switch", "r2").Want(1).Says("has not finished within hold = 1s")
	if r := finished(t, slow); r.Failure != 0 || r.Release != "r1" {
		t.Errorf("%+v", r)
	}
	a.Lossless(requests)
}
