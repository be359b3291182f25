package fleet

import (
	"strings"
	"testing"
	"time"

	"superctl/api"
)

func TestARevertTakesBackAllHosts(t *testing.T) {
	for _, bad := range []string{"web1", "web3"} {
		t.Run(bad, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				f.hosts[bad].reverts = true
				res := deploy(f, nil)
				ends(t, f, res, api.ExitReverted, "1", "1", "1")
				if !strings.HasPrefix(res.Error, bad+": the probation failed") {
					t.Error(res.Error)
				}
				idle(t, f)
			})
		})
	}
}

func TestAHostThatTurnsLateIsTakenBackToo(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].reverts = true          // after 5 s
		f.hosts["web2"].turn = 10 * time.Second // it has nothing to take back yet
		ends(t, f, deploy(f, nil), api.ExitReverted, "1", "1", "1")
	})
}

func TestKeepLeavesTheOthers(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].reverts = true
		ends(t, f, deploy(f, func(p *Plan) { p.Keep = true }), api.ExitReverted, "2", "2", "1")
	})
}

func TestAHostThatRanTheReleaseBeforeIsNotTakenBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web2"].live, f.hosts["web2"].previous, f.hosts["web3"].reverts = "2", "1", true
		ends(t, f, deploy(f, nil), api.ExitReverted, "1", "2", "1")
	})
}

func TestACableCutBeforeTheOthersTurnTakesTheCanaryHostBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.aboutTo = func(what string) {
			if what == "web1 judged" {
				f.hosts["web2"].cutNow()
			}
		}
		ends(t, f, deploy(f, nil), api.ExitReverted, "1", "1", "1")
		idle(t, f)
	})
}
