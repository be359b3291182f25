package fleet

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

// TestRandomRunsEndOnOneReleaseOrSaySo runs many deploys with faults at random messages, hosts and
// times. Each ends with one release on all hosts, or with a mix that status shows and that finish or
// back ends. FLEET_SEED runs one of them alone.
func TestRandomRunsEndOnOneReleaseOrSaySo(t *testing.T) {
	seeds := 1000
	if testing.Short() {
		seeds = 100
	}
	counts := make(map[string]int)
	for seed := range seeds {
		if one := os.Getenv("FLEET_SEED"); one != "" && one != strconv.Itoa(seed) {
			continue
		}
		synctest.Test(t, func(t *testing.T) { counts[randomRun(t, uint64(seed))]++ })
		if t.Failed() {
			t.Fatalf("FLEET_SEED=%d", seed)
		}
	}
	t.Log(counts)
	if os.Getenv("FLEET_SEED") == "" && len(counts) < 8 {
		t.Errorf("the runs end in few ways: %v", counts)
	}
}

// fault breaks a fleet when a message comes by.
type fault struct {
	at   int // which message
	wait time.Duration
	do   func()
	name string
}

func randomFaults(f *fakeFleet, rnd *rand.Rand) (faults []fault) {
	names := slices.Sorted(maps.Keys(f.hosts))
	for range rnd.IntN(4) {
		h := f.hosts[names[rnd.IntN(len(names))]]
		one := fault{at: rnd.IntN(35), wait: time.Duration(rnd.Int64N(int64(4 * time.Second)))}
		if rnd.IntN(2) == 0 {
			one.wait = 0
		}
		switch rnd.IntN(7) {
		case 0, 1:
			one.name, one.do = "cut "+h.name, func() { h.cutNow() }
		case 2:
			one.name, one.do = "kill", func() { f.kill() }
		case 3:
			one.at, one.name, one.do = 0, "revert "+h.name, func() { h.reverts = true }
		case 4:
			at := []string{"before", "prove", "ready"}[rnd.IntN(3)]
			one.at, one.name, one.do = 0, "refuse "+at+" "+h.name, func() { h.refuses = at }
		case 5:
			one.at, one.name, one.do = 0, "slow "+h.name, func() { h.boot = time.Minute }
		case 6:
			mended := time.Duration(rnd.Int64N(int64(20 * time.Second)))
			one.name, one.do = "cut and mend "+h.name, func() {
				h.cutNow()
				time.AfterFunc(mended, h.lockedMend)
			}
		}
		faults = append(faults, one)
	}
	return faults
}

func (h *fakeHost) lockedMend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mend()
}

// arm applies the faults as the messages come by.
func (f *fakeFleet) arm(faults []fault) {
	n := 0
	for _, one := range faults {
		if one.at == 0 && one.wait == 0 {
			one.do()
		}
	}
	f.aboutTo = func(string) {
		f.mu.Lock()
		n++
		at := n
		f.mu.Unlock()
		for _, one := range faults {
			switch {
			case one.at != at:
			case one.wait == 0:
				one.do()
			default:
				time.AfterFunc(one.wait, one.do)
			}
		}
	}
}

// randomRun returns in what way the run has ended.
func randomRun(t *testing.T, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	f := newFakeFleet(t, "web1", "web2", "web3")
	if rnd.IntN(4) == 0 {
		f.hosts["web2"].live, f.hosts["web2"].previous = "2", "1"
	}
	before := f.live()
	faults := randomFaults(f, rnd)
	f.arm(faults)
	plan := deployPlan(f)
	plan.Keep, plan.Batch = rnd.IntN(8) == 0, rnd.IntN(3)
	if rnd.IntN(4) == 0 {
		plan.Bake = 20 * time.Second
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	if rnd.IntN(6) == 0 {
		time.AfterFunc(time.Duration(rnd.Int64N(int64(time.Minute))), interrupt)
	}
	began := time.Now()
	res := Do(ctx, plan, f, Limits{}, func(Progress) {})
	took := time.Since(began)
	synctest.Wait()
	killed := f.dead.raised()

	time.Sleep(time.Minute) // hosts notice what they can
	synctest.Wait()
	f.aboutTo = func(string) {}
	f.revive()
	for _, h := range f.hosts {
		h.lockedMend()
		h.reverts, h.refuses, h.boot = false, "", time.Second
	}
	idle(t, f)
	after := f.live()
	problem := func(format string, args ...any) {
		t.Errorf("seed %d: %s: %s after %s; faults %v; keep %v: exit %d: %s", seed, fmt.Sprintf(format, args...), after, took,
			faults, plan.Keep, res.Exit, res.Error)
	}
	if !killed && took > 6*time.Minute {
		problem("it took too long")
	}
	if f.migrations[plan.Run] > 1 {
		problem("%d migrations", f.migrations[plan.Run])
	}
	if text := strings.Join(res.Warnings, "; "); strings.Contains(text, "unexpected") {
		problem("%s", text)
	}
	text := strings.Join(f.told, "; ")
	wrong := res.Result != api.Done || strings.Contains(text, "behind") != (res.Exit == api.ExitBehind)
	if len(f.told) > 1 || strings.Contains(text, " done ") && wrong {
		problem("the team is told: %s", text)
	}
	if !killed {
		judgeEnd(res, before, after, plan.Keep, problem)
	}
	v := Look(t.Context(), "shop", plan.Hosts, f, time.Minute)
	mixed := len(slices.Compact(slices.Sorted(maps.Values(after)))) > 1
	if mixed != (v.Mix != "") {
		problem("status says %q", v.Mix)
	}
	how := fmt.Sprintf("exit %d, killed %v, mixed %v", res.Exit, killed, mixed)
	if mixed && v.Run == plan.Run && v.byRun() {
		hows := []string{"finish", "back"}
		if before["web2"] == "2" {
			hows = hows[:1] // back leads to the mix that there was before the run
		}
		endMix(t, f, v, hows[rnd.IntN(len(hows))])
	}
	return how
}

// judgeEnd checks that what the run says is what the hosts run.
func judgeEnd(res *Result, before, after map[string]string, keep bool, problem func(string, ...any)) {
	for _, h := range res.Hosts {
		if h.Release != "" && h.Release != after[h.Host] {
			problem("%s is said to run %s", h.Host, h.Release)
		}
	}
	for host, live := range after {
		switch {
		case res.Exit == api.ExitDone && live != "2":
			problem("%s is not on the release", host)
		case res.Exit != api.ExitDone && res.Exit != api.ExitBehind && !keep && live != before[host]:
			problem("%s has turned", host)
		}
	}
}

func (f *fakeFleet) live() map[string]string {
	live := make(map[string]string)
	for name, h := range f.hosts {
		live[name] = h.live
	}
	return live
}
