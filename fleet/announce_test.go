package fleet

import (
	"slices"
	"testing"
	"time"
)

// told checks what the team is told about a run.
func told(t *testing.T, f *fakeFleet, want ...string) {
	t.Helper()
	if !slices.Equal(f.told, want) {
		t.Errorf("the team is told %q, want %q", f.told, want)
	}
}

func TestTheTeamIsToldOnceOfARun(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		deploy(f, nil)
		told(t, f, "web1: done 2 on web1,web2,web3")
		deploy(f, nil) // nothing to do
		told(t, f, "web1: done 2 on web1,web2,web3")
	})
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].reverts = true
		deploy(f, nil)
		told(t, f, "web1: reverted 2 on web1,web2,web3")
	})
	for _, step := range []string{"before", "prove"} {
		for _, host := range []string{"web1", "web2"} {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				f.hosts[host].refuses = step
				if res := deploy(f, nil); len(res.Warnings) > 0 {
					t.Errorf("%s refuses at %s: %q", host, step, res.Warnings)
				}
				told(t, f, "web1: aborted 2 on web1,web2,web3")
			})
		}
	}
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		deploy(f, func(p *Plan) { p.Hosts, p.Without = []string{"web1", "web3"}, []string{"web2"} })
		told(t, f, "web1: done 2 on web1,web3 behind web2")
	})
}

func TestADeadOperatorAnnouncesNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.aboutTo = func(what string) {
			if what == "web1 probation" {
				f.kill()
			}
		}
		deploy(f, nil)
		time.Sleep(time.Minute)
		told(t, f)
	})
}

func TestAnotherHostAnnouncesForACanaryHostThatIsLost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.aboutTo = func(what string) {
			if what == "web1 probation" {
				f.hosts["web1"].cutNow()
			}
		}
		deploy(f, nil)
		time.Sleep(time.Minute)
		told(t, f, "web2: reverted 2 on  behind web1")
	})
}
