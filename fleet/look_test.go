package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestItIsNotSaidThatHostsRunTheSameWhileOneIsDown(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web2"].cutNow()
		deploy(f, func(p *Plan) { p.Hosts, p.Without = []string{"web1", "web3"}, []string{"web2"} })
		v := Look(t.Context(), "shop", []string{"web1", "web2", "web3"}, f, time.Minute)
		_, finish := v.Finish()
		_, back := v.Back(t.Context(), "production", "bob@desk", f, time.Minute)
		for _, err := range []error{finish, back} {
			if !isLost(err) || !strings.Contains(err.Error(), "web2: ") {
				t.Errorf("%v", err)
			}
		}
		f.hosts["web2"].mend()
		v = Look(t.Context(), "shop", []string{"web1", "web3"}, f, time.Minute)
		if _, err := v.Finish(); !errors.Is(err, ErrNoMix) {
			t.Errorf("without web2: %v", err)
		}
	})
}

func TestAMixAfterADeadOperatorIsEnded(t *testing.T) {
	for _, how := range []string{"finish", "back"} {
		t.Run(how, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				f.aboutTo = func(what string) {
					if what == "web1 judged" {
						f.kill()
					}
				}
				deploy(f, nil)
				idle(t, f)
				f.revive()
				f.aboutTo = func(string) {}
				v := Look(t.Context(), "shop", []string{"web1", "web2", "web3"}, f, time.Minute)
				if v.Mix != "1 on web2 and web3, 2 on web1" || v.Run != "run-1" || v.Release != "2" {
					t.Fatalf("%+v", v)
				}
				endMix(t, f, v, how)
			})
		})
	}
}

func (f *fakeFleet) revive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = newSignal()
}

// endMix ends a mix and checks that one release is live on all hosts.
func endMix(t *testing.T, f *fakeFleet, v *View, how string) {
	t.Helper()
	if how == "back" {
		if _, err := v.Back(t.Context(), "production", "bob@desk", f, time.Minute); err != nil {
			t.Error(err)
		}
	} else {
		release, err := v.Finish()
		if err != nil {
			t.Error(err)
		}
		plan := deployPlan(f)
		plan.Run, plan.Bundle, plan.Release = "run-9", nil, release
		if res := Do(t.Context(), plan, f, Limits{}, func(Progress) {}); res.Exit != 0 {
			t.Errorf("finish: %+v", res)
		}
	}
	if after := Look(t.Context(), "shop", v.names(), f, time.Minute); after.Mix != "" || after.Exit != 0 {
		t.Errorf("%s of %q leaves %q", how, v.Mix, after.Mix)
	}
}

func (v *View) names() (names []string) {
	for _, h := range v.Hosts {
		names = append(names, h.Host)
	}
	return names
}
