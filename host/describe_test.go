//go:build linux

package host

import (
	"testing"

	"superctl/api"
)

func TestAGenerationHasItsShareOfTheConnections(t *testing.T) {
	type role struct {
		state string
		share float64
	}
	for name, c := range map[string]struct {
		changing  *api.ChangeStatus
		live, old role
	}{
		"no change":  {nil, role{"live", 0}, role{"standby", 0}},
		"probation":  {&api.ChangeStatus{}, role{"live", 0}, role{"standby", 0}},
		"control":    {&api.ChangeStatus{OldShare: 20}, role{"live", 80}, role{Control, 20}},
		"canary":     {&api.ChangeStatus{Canary: &api.CanaryStatus{Share: 5}}, role{"live", 95}, role{Canary, 5}},
		"by network": {&api.ChangeStatus{Canary: &api.CanaryStatus{}}, role{"live", 0}, role{"standby", 0}},
	} {
		st := &api.Status{Generation: 7, Changing: c.changing, Listeners: []api.ListenerStatus{{Generation: 7, Canary: 6}}}
		for id, want := range map[int]role{7: c.live, 6: c.old, 5: {"draining", 0}} {
			g := &api.GenerationStatus{ID: id, State: map[int]string{7: "live", 6: "standby", 5: "draining"}[id]}
			if state, share := Role(st, g); (role{state, share}) != want {
				t.Errorf("%s: generation %d is %s with %g %%, not %+v", name, id, state, share, want)
			}
		}
	}
}
