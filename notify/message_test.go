package notify

import (
	"testing"
	"time"

	"superctl/api"
)

func TestTheSentenceOfEachEvent(t *testing.T) {
	first, reload, refused := past(api.Reverted), past(api.Done), past(api.Aborted)
	first.Previous, first.PreviousCommit = "", ""
	reload.Kind, reload.Previous, reload.PreviousCommit = "reload", reload.Release, reload.Commit
	refused.Release, refused.Commit = "", ""
	broken, worse := past(api.Aborted), past(api.Reverted)
	broken.Kind, broken.Release, broken.Commit, broken.Error = "reload", "", "", "resolve: shop.toml:3:1: it is wrong."
	worse.Kind, worse.Previous, worse.PreviousCommit, worse.Error = "reload", worse.Release, worse.Commit,
		"probation: no"
	at := reported
	for _, test := range []struct {
		out  api.Outcome
		want string
	}{
		{
			past(""),
			"shop: switching to 2026-11-23 (9f3c2ab1de) from 2026-11-20 (1111111111) (switch by alice from " +
				"203.0.113.7, on web1).",
		},
		{
			past(api.Done),
			"shop: 2026-11-23 (9f3c2ab1de) is live, replacing 2026-11-20 (1111111111) (switch by alice from " +
				"203.0.113.7, on web1, took 3.9 s).",
		},
		{
			past(api.Aborted),
			"shop: 2026-11-23 (9f3c2ab1de) was REFUSED, 2026-11-20 (1111111111) is still live: probation: web.0 " +
				"ended after 2s: exit code 3 <traceback> & more second line (switch by alice from 203.0.113.7, on " +
				"web1, " +
				"after 3.9 s).",
		},
		{
			first,
			"shop: 2026-11-23 (9f3c2ab1de) was REVERTED, nothing is live: probation: web.0 ended after 2s: exit " +
				"code 3 <traceback> & more second line (switch by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			reload,
			"shop: 2026-11-23 (9f3c2ab1de) runs with the current config (reload by alice from 203.0.113.7, on web1, " +
				"took 3.9 s).",
		},
		{
			broken,
			"shop: the new config was REFUSED, 2026-11-20 (1111111111) runs with the previous one: resolve: " +
				"shop.toml:3:1: it is wrong (reload by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			worse,
			"shop: the new config was REVERTED, 2026-11-23 (9f3c2ab1de) runs with the previous one again: " +
				"probation: no (reload by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			refused,
			"shop: the switch was REFUSED, 2026-11-20 (1111111111) is still live: probation: web.0 ended after 2s: " +
				"exit code 3 <traceback> & more second line (switch by alice from 203.0.113.7, on web1, after 3.9 s).",
		},
		{
			maintenance(api.MaintenanceOn, api.Done),
			"shop: users get the maintenance page (maintenance by anna, on web1).",
		},
		{
			maintenance(api.MaintenanceOff, api.Done),
			"shop: maintenance is over, users reach r1 (maintenance by anna, on web1).",
		},
		{
			maintenance(api.MaintenanceOn, api.Aborted),
			"shop: the maintenance page could not be shown, users reach r1: no (maintenance by anna, on web1).",
		},
		{
			maintenance(api.MaintenanceOff, api.Aborted),
			"shop: users STILL GET the maintenance page: no (maintenance by anna, on web1).",
		},
		{health(api.HealthDown), "shop is DOWN on web1: web: 0 of 2 ready: web.0 ended after 2s: exit code 3."},
		{
			health(api.HealthDegraded),
			"shop is degraded on web1, r1 serves: web: 0 of 2 ready: web.0 ended after 2s: exit code 3.",
		},
		{
			api.Outcome{
				Kind: api.CronKind, Result: api.Aborted, Command: "clear-sessions", Release: "r1", Error: "exit code 3", Seconds: 3.9,
				Started: reported,
			},
			"shop: the scheduled command clear-sessions FAILED on web1: exit code 3 (in r1, after 3.9 s).",
		},
		{
			api.Outcome{
				Kind: api.CronKind, Result: api.Aborted, Command: "clear-sessions", Release: "r1",
				Error: "the daemon ended before it had recorded the end of the run", Started: reported,
			},
			"shop: the scheduled command clear-sessions FAILED on web1: the daemon ended before it had recorded the end of the run (in r1).",
		},
		{health(api.HealthOK), "shop is ok again on web1: r1 serves (the problem lasted 3 min 20 s)."},
	} {
		m := newMessage("shop", "web1", test.out, at)
		if m.Text != test.want {
			t.Errorf("%s\nwant\n%s", m.Text, test.want)
		}
		if got := m.text(at.Add(time.Minute)); got != m.Text {
			t.Error(got)
		}
		if got := m.text(at.Add(time.Hour)); got != m.Text+" This was at 2026-11-23 03:04:09 UTC; it could not be "+
			"sent before." {
			t.Error(got)
		}
	}
}

func health(is string) api.Outcome {
	return api.Outcome{
		Kind: api.HealthKind, Result: api.Result(is), Release: "r1",
		Error: "web: 0 of 2 ready: web.0 ended after 2s: exit code 3", Seconds: 200,
		Started: reported,
	}
}

// maintenance is the outcome of superctl maintenance on or off.
func maintenance(what string, result api.Result) api.Outcome {
	out := api.Outcome{
		Kind: string(api.Maintenance), Maintenance: what, Result: result, Release: "r1", Previous: "r1", Who: "anna",
	}
	if result != api.Done {
		out.Error = "no"
	}
	return out
}
