package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/harness"
	"superctl/e2e/systemd"
	client "superctl/fleet"
)

// messages is about how many messages a run has in which nothing fails.
const messages = 150

// randomRuns is how many runs there are unless SEEDS says another number.
const randomRuns = 24

// aHost is the config of a host of the random runs: its server's health ends where a file says so, once
// the release is live.
const aHost = `app = %[1]q
releases = "%[2]s/releases"
current = "%[2]s/current"
state = "%[2]s/state"
control = "%[3]s"
virtualenv = false
probation = "500ms"
standby = "1m"
[hooks]
before = [{ run = "test ! -e %[2]s/refuse" }, { run = ["sh", "-c", "echo ran >>%[2]s/migrations"], once = true }]
[listen.web]
address = %[4]q
[process.web]
command = %[5]q
listen = ["web"]
user = "root"
start_timeout = "5s"
[process.web.health]
kind = "exec"
command = ["sh", "-c", "! test -e %[2]s/fade || test $(readlink %[2]s/current) = %[2]s/releases/1"]
interval = "100ms"
unhealthy_after = "1s"
healthy_after = 1
[env]
SHOP_E2E_RUN = %[2]q
TMPDIR = "%[2]s/tmp"
`

// lane is three hosts on which one run follows another.
type lane struct {
	t     *testing.T
	wire  *wire
	apps  map[string]*harness.App
	names []string
}

func newLane(t *testing.T) *lane {
	t.Helper()
	l := &lane{t: t, apps: make(map[string]*harness.App), names: []string{"web1", "web2", "web3"}}
	l.wire = &wire{
		binary: run.Binary, config: make(map[string]string), cables: make(map[string]chan struct{}), killed: make(chan struct{}),
	}
	for _, name := range l.names {
		a := harness.New(t, run, harness.Options{})
		a.WriteFile("superctl.toml", fmt.Sprintf(aHost, a.Name, a.Dir, a.Control(), a.Address, run.Go(t).Command))
		for _, release := range []string{"1", "2"} {
			must(t, os.Mkdir(a.Path("releases", release), 0o755))
			a.WriteFile(filepath.Join("releases", release, "readme"), release)
		}
		a.Start("1")
		l.apps[name], l.wire.config[name] = a, a.Config
	}
	t.Cleanup(l.wire.strayed.Wait) // before the daemons end
	return l
}

// TestRandomRunsOfRealDaemonsEndOnOneReleaseOrSaySo breaks something at a random message of each run.
// Each ends with one release on all hosts, or with a mix that status shows, and finish or back ends.
// SEEDS is how many, and SEED runs one of them alone.
func TestRandomRunsOfRealDaemonsEndOnOneReleaseOrSaySo(t *testing.T) {
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why) // there is no superctl either
	}
	seeds, first := randomRuns, 0
	if n, err := strconv.Atoi(os.Getenv("SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.Atoi(os.Getenv("SEED")); err == nil {
		first, seeds = n, 1
	}
	var mu sync.Mutex
	counts := make(map[string]int)
	t.Run("lanes", func(t *testing.T) {
		for lane := range fleets {
			t.Run(strconv.Itoa(lane), func(t *testing.T) {
				t.Parallel()
				l := newLane(t)
				for seed := first + lane; seed < first+seeds && !t.Failed(); seed += fleets {
					how := l.run(seed)
					mu.Lock()
					counts[how]++
					mu.Unlock()
				}
			})
		}
	})
	for _, how := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%4d %s", counts[how], how)
	}
}

// reset puts the hosts and the wire back.
func (l *lane) reset() {
	l.t.Helper()
	for _, name := range l.names {
		l.wire.mend(name)
		l.apps[name].Command("switch", "1").Want(0)
		_ = os.Remove(l.apps[name].Path("migrations")) // which may not be there
	}
}

// faultsOf returns the faults of a run.
func (l *lane) faultsOf(rnd *rand.Rand) (faults []fault) {
	for range rnd.IntN(3) + 1 {
		name := l.names[rnd.IntN(len(l.names))]
		f := fault{at: 1 + rnd.IntN(messages)}
		switch rnd.IntN(7) {
		case 0, 1:
			f.name, f.do = "cut "+name, func() { l.wire.cut(name) }
		case 2:
			mended := time.Duration(rnd.Int64N(int64(5 * time.Second)))
			f.name, f.do = "cut and mend "+name, func() {
				l.wire.cut(name)
				time.AfterFunc(mended, func() { l.wire.mend(name) })
			}
		case 3, 4:
			f.name, f.do = "kill", l.wire.kill
		case 5:
			f.name, f.do = "fade "+name, func() { l.apps[name].WriteFile("fade", "") }
		case 6:
			f.name, f.do = "refuse "+name, func() { l.apps[name].WriteFile("refuse", "") }
		}
		faults = append(faults, f)
	}
	return faults
}

// run is one run. It returns how it ended.
func (l *lane) run(seed int) string {
	t := l.t
	t.Helper()
	l.reset()
	rnd := rand.New(rand.NewPCG(uint64(seed), 1))
	faults := l.faultsOf(rnd)
	l.wire.arm(faults)
	plan := client.Plan{
		Run: fmt.Sprintf("seed-%d", seed), By: "anna@desk", App: "shop", Env: "production", Why: "switch to 2", Kind: api.Switch,
		Release: "2", Hosts: l.names, Canary: l.names[rnd.IntN(3)], Batch: rnd.IntN(2),
	}
	began := time.Now()
	res := client.Do(t.Context(), plan, l.wire, client.Limits{Beat: 500 * time.Millisecond, Dead: 3 * time.Second},
		func(client.Progress) {})
	seen, killed := l.wire.disarm()
	what := fmt.Sprintf("SEED=%d: %d messages, faults", seed, seen)
	for _, f := range faults {
		what += fmt.Sprintf(" %s at %d;", f.name, f.at)
	}
	what += fmt.Sprintf(" exit %d: %s", res.Exit, res.Error)
	t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
	l.calm()
	live, migrations := l.look()
	problem := func(format string, args ...any) {
		t.Errorf("%s: %s: live %v after %s", what, fmt.Sprintf(format, args...), live, time.Since(began))
	}
	if migrations > 1 {
		problem("%d migrations", migrations)
	}
	if !killed {
		l.judge(res, live, problem)
	}
	v := client.Look(t.Context(), "shop", l.names, l.wire, harness.Patience)
	mixed := len(slices.Compact(slices.Sorted(slices.Values(live)))) > 1
	if mixed != (v.Mix != "") {
		problem("status says %q", v.Mix)
	}
	if mixed {
		l.endMix(v, rnd, problem)
	}
	return fmt.Sprintf("exit %d, killed %v, mixed %v", res.Exit, killed, mixed)
}

// judge checks that what the client says is what the hosts run.
func (l *lane) judge(res *client.Result, live []string, problem func(string, ...any)) {
	want := map[int]string{api.ExitDone: "2", api.ExitBehind: ""} // "" = any; by default it is 1
	for _, h := range res.Hosts {
		now := live[slices.Index(l.names, h.Host)]
		if h.Release != "" && h.Release != now {
			problem("%s is said to run %s", h.Host, h.Release)
		}
		all, ok := want[res.Exit]
		if !ok {
			all = "1"
		}
		if all != "" && now != all {
			problem("%s runs %s, and exit code %d says that none does", h.Host, now, res.Exit)
		}
	}
}

// calm ends all faults, and waits until every host is idle.
func (l *lane) calm() {
	l.t.Helper()
	for _, name := range l.names {
		harness.Eventually(l.t, name+" is idle", func() bool {
			st := l.apps[name].Status()
			return st.Changing == nil && st.Lock == nil
		})
	}
	for _, name := range l.names {
		l.wire.mend(name)
		_ = os.Remove(l.apps[name].Path("fade"))   // which may not be there
		_ = os.Remove(l.apps[name].Path("refuse")) // the same
	}
}

// look returns the live releases, in order, and how many migrations have run.
func (l *lane) look() (live []string, migrations int) {
	l.t.Helper()
	for _, name := range l.names {
		live = append(live, l.apps[name].Status().Release)
		text, err := os.ReadFile(l.apps[name].Path("migrations"))
		if err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
		migrations += strings.Count(string(text), "\n")
	}
	return live, migrations
}

// endMix ends a mix as finish or back does.
func (l *lane) endMix(v *client.View, rnd *rand.Rand, problem func(string, ...any)) {
	l.t.Helper()
	if rnd.IntN(2) == 0 {
		after, err := v.Back(l.t.Context(), "production", "anna@desk", l.wire, harness.Patience)
		if err != nil || after.Mix != "" {
			problem("back: %v", cmp.Or(err, errors.New(after.Mix)))
		}
		return
	}
	release, err := v.Finish()
	if err != nil {
		problem("finish: %v", err)
		return
	}
	res := client.Do(l.t.Context(), client.Plan{
		Run: "finish", By: "anna@desk", App: "shop", Why: "finish", Kind: api.Switch, Release: release, Hosts: l.names, Canary: "web1",
	}, l.wire, client.Limits{}, func(client.Progress) {})
	if res.Exit != api.ExitDone {
		problem("finish ended with %d: %s", res.Exit, res.Error)
	}
}
