package fleet

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func hold(ctx context.Context, f *fakeFleet, held func()) error {
	plan := deployPlan(f)
	plan.Bundle, plan.Why = nil, "moving the database"
	return Hold(ctx, plan, f, Limits{}, held)
}

func TestALockHoldsAllHostsUntilCtrlC(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		ctx, interrupt := context.WithCancel(t.Context())
		held := 0
		err := hold(ctx, f, func() {
			held++
			for name, h := range f.hosts {
				if h.lease != "run-1" {
					t.Errorf("%s is held by %q", name, h.lease)
				}
			}
			time.AfterFunc(2*time.Hour, interrupt)
		})
		if err != nil || held != 1 {
			t.Errorf("held %d times: %v", held, err)
		}
		idle(t, f)
	})
}

func TestALockEndsOnAllHostsIfOneIsLost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		err := hold(t.Context(), f, func() { f.hosts["web2"].cutNow() })
		if err == nil || !strings.HasPrefix(err.Error(), "web2: ") {
			t.Errorf("the error is %v", err)
		}
		idle(t, f)
	})
}

func TestALockIsRefusedIfAnotherRunHasAHost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].lease, f.hosts["web3"].leaseBy = "another", "bob@desk"
		err := hold(t.Context(), f, func() { t.Error("it holds all hosts") })
		if err == nil || err.Error() != "web3: locked by bob@desk" {
			t.Errorf("the error is %v", err)
		}
		synctest.Wait()
		f.hosts["web3"].lease = ""
		idle(t, f)
	})
}
