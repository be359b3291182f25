package fleet

import (
	"testing"
	"time"

	"superctl/e2e/harness"
)

// prepare begins a switch on every host over ssh, and waits until each has prepared it.
func prepare(t *testing.T, f *Fleet, release, limit string) (all []*Command) {
	t.Helper()
	for _, h := range f.Hosts {
		all = append(all, h.SSH(t, "sudo -n superctl --app shop switch "+release+" --prepare="+limit+" --json"))
	}
	for _, c := range all {
		c.Await(`"ready":true`)
	}
	return all
}

// idle waits until no host has a change in progress, or is held by a run.
func (f *Fleet) idle(t *testing.T) {
	t.Helper()
	for _, h := range f.Hosts {
		harness.Eventually(t, h.Name+" is idle", func() bool {
			st := h.Status(t)
			return st.Changing == nil && st.Lock == nil
		})
	}
}

// wantLive fails the test unless the hosts have these live releases, such as "2 2 2".
func (f *Fleet) wantLive(t *testing.T, want string) {
	t.Helper()
	if live := f.Live(t); live != want {
		t.Errorf("the live releases are %s, want %s", live, want)
	}
}

// wantGeneration fails the test if a host has another live generation, counted from 1, which it has
// after Reset: it has turned meanwhile.
func (f *Fleet) wantGeneration(t *testing.T, want int) {
	t.Helper()
	for i, st := range f.statuses(t) {
		h := f.Hosts[i]
		if live := st.Generation - h.first + 1; live != want {
			t.Errorf("%s: generation %d is live, want %d", h.Name, live, want)
		}
	}
}

func TestPreparedHostsTurnTogetherAndLoseNothing(t *testing.T) {
	f := clean(t)
	r := f.Load(t)
	must(t, r.WaitMore(t.Context(), 50))
	all := prepare(t, f, "2", "1m")
	f.wantLive(t, "1 1 1")
	for _, c := range all {
		c.Type("go")
	}
	var first, last time.Time
	for _, c := range all {
		var o harness.Outcome
		c.Want(0).JSON(&o)
		for _, s := range o.Steps {
			if s.Name == "cutover" && (first.IsZero() || s.Began.Before(first)) {
				first = s.Began
			}
			if s.Name == "cutover" && s.Began.After(last) {
				last = s.Began
			}
		}
	}
	f.wantLive(t, "2 2 2")
	must(t, r.WaitMore(t.Context(), 50))
	if result := r.Stop(); len(result.Failed()) > 0 {
		t.Errorf("requests were lost: %s", result)
	}
	t.Logf("the hosts turned within %s", last.Sub(first))
}

func TestAHostThatRefusesIsKnownBeforeAnyTurns(t *testing.T) {
	f := clean(t)
	f.Hosts[1].Fault(t, "2", "refuse")
	refused := f.Hosts[1].SSH(t, "sudo -n superctl --app shop switch 2 --prepare=1m --json")
	ready := f.Hosts[0].SSH(t, "sudo -n superctl --app shop switch 2 --prepare=1m --json").Await(`"ready":true`)
	refused.Ended().Want(1).Says("2 refuses to start on web2")
	ready.Want(1) // the end of its stdin
	f.wantLive(t, "1 1 1")
}

func TestPreparedHostsAbortWhenTheOperatorIsKilled(t *testing.T) {
	f := clean(t)
	for _, c := range prepare(t, f, "2", "10m") {
		c.Kill()
	}
	f.idle(t)
	f.wantLive(t, "1 1 1")
}

func TestAPreparedHostAbortsBehindACutCable(t *testing.T) {
	f := clean(t)
	all := prepare(t, f, "2", "3s")
	f.Hosts[1].Cut(t)
	for _, c := range all {
		c.Kill()
	}
	f.idle(t)
	f.wantLive(t, "1 1 1")
}
