package supervisor

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestACanaryThatCannotBeIsRefusedBeforeAnythingIsStarted(t *testing.T) {
	for name, tc := range map[string]struct {
		kind   string // of the gate
		live   bool
		change Kind
		canary Canary
		says   string
		usage  bool
	}{
		"behind a shared gate": {
			"shared", true, Switch, *threeSteps(), `listener "web" (127.0.0.1:8000) has one queue`, false,
		},
		"without a listener": {"none", true, Switch, *threeSteps(), "the app has no listener: a canary needs one", false},
		"on a unix socket":   {"rename", true, Switch, *threeSteps(), `leads to one generation at a time`, false},
		"with nothing live":  {"", false, Switch, *threeSteps(), "without --canary starts one", false},
		"of a reload":        {"", true, Reload, *threeSteps(), "for switch only", true},
		"of nothing":         {"", true, Switch, Canary{For: time.Minute}, "needs a share", true},
		"of no time":         {"", true, Switch, Canary{Steps: []int{1}}, "more than 0s and at most 24h", true},
		"of a week": {
			"", true, Switch, Canary{Steps: []int{1}, For: 7 * 24 * time.Hour}, "at most 24h", true,
		},
		"that becomes smaller": {
			"", true, Switch,
			Canary{Steps: []int{100, 50}, For: time.Minute},
			"0.5 % after 1 %: each step must be larger", true,
		},
		"of more than all": {
			"", true, Switch, Canary{Steps: []int{10_001}, For: time.Minute}, "from 0.01% to 100%", true,
		},
		"with an empty check": {
			"", true, Switch,
			Canary{Steps: []int{1}, For: time.Minute, Check: []string{}},
			"the check of a canary is empty", true,
		},
		"from no network": {
			"", true, Switch,
			Canary{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}, For: time.Minute},
			"10.0.0.1/8 is no network", true,
		},
		"from too many networks": {
			"", true, Switch, Canary{Networks: make([]netip.Prefix, 201), For: time.Minute}, "at most 200", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				if tc.kind == "none" {
					w.plan = onlyBackground
					w.options = func(o *Options) { o.Gates = nil }
				}
				w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				if tc.live {
					switchTo(t, s, "r1")
				}
				synctest.Wait()
				w.gate.kind = tc.kind
				started := len(w.procs)
				_, err := s.Change(
					t.Context(), Request{Kind: tc.change, Release: "r2", Canary: &tc.canary}, func(Event) {},
				)
				var refused *RefusedError
				if !errors.As(err, &refused) || refused.Usage != tc.usage || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("refused with %v", err)
				}
				if len(w.procs) != started {
					t.Error("a worker was started")
				}
				w.gate.kind = ""
			})
		})
	}
}

func TestACheckThatIsNotThereIsMissedBeforeAnythingIsStarted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		canary := threeSteps()
		canary.Check = []string{"/nowhere/look"}
		out := switchWith(t, s, "r2", canary)
		want(t, s, out, Aborted, "r1")
		if len(w.procs) != 1 || !strings.Contains(out.Error, "the check of the canary") {
			t.Errorf("%d workers; %s", len(w.procs), out.Error)
		}
	})
}

func TestAReleaseThatMustNotRunBesideTheOldOneHasNoCanary(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		w.plan = func(p Plan) Plan { p.Processes[0].Strategy = Hold; return p }
		out := switchWith(t, s, "r2", threeSteps())
		want(t, s, out, Aborted, "r1")
		if len(w.procs) != 1 || !strings.Contains(out.Error, `process.web has the strategy "hold"`) {
			t.Errorf("%d workers; %s", len(w.procs), out.Error)
		}
	})
}
