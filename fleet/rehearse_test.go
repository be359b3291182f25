package fleet

import (
	"slices"
	"testing"
)

func TestARehearsalAsksEachHostAndChangesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(f *fakeFleet)
		exit    int
		changed bool
		hosts   []RehearsalHost
	}{
		{"as the run", func(f *fakeFleet) { f.hosts["web3"].live = "2" }, 0, true, []RehearsalHost{
			{Host: "web1", Live: "1", Release: "2", Changed: true},
			{Host: "web2", Live: "1", Release: "2", Changed: true},
			{Host: "web3", Live: "2", Release: "2"},
		}},
		{"refused on one", func(f *fakeFleet) { f.hosts["web2"].refuses = "unknown migrations" }, 1, true, []RehearsalHost{
			{Host: "web1", Live: "1", Release: "2", Changed: true},
			{Host: "web2", Live: "1", Release: "2", Refused: "unknown migrations", exit: 1},
			{Host: "web3", Live: "1", Release: "2", Changed: true},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				tc.prepare(f)
				plan := deployPlan(f)
				plan.Bundle, plan.Release = nil, "2"
				got := Rehearse(t.Context(), plan, f)
				if got.Exit != tc.exit || got.Changed != tc.changed || !slices.Equal(got.Hosts, tc.hosts) {
					t.Errorf("%+v", got)
				}
				idle(t, f)
				if len(f.log) > 0 {
					t.Errorf("the hosts did %q", f.log)
				}
			})
		})
	}
}
