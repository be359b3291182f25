// The simulator: the whole supervisor in virtual time, on a model of the machine.
//
// A seed decides a scenario (simulation_scenario_test.go): the app, how its releases behave, the
// requests of its operators, and the faults, among them the death of the daemon at any of its
// steps. The real code of this package runs it, over models of the processes, of sockets with
// accept queues and connections, of the disk, of systemd with its descriptor store, and of clients.
// While it runs, and when all has come to rest, the invariants of simulation_invariants_test.go
// must hold.
//
// The same seed gives the same run, byte for byte. Goroutines that wake up at the same instant run
// in any order, so there are none: each call that leaves the supervisor for the world, and each
// that enters its owner, takes a moment of virtual time that is its own (simDaemon.edge,
// simDaemon.enter, simDaemon.pass). Goroutines of the same code that may wake up together, such as
// those of two instances, say who they are (core.enter). The owner does what it does to several
// things in the order of their names.
//
// A daemon that dies cannot take its goroutines with it. From that instant on none of their calls
// has an effect, its descriptors are closed, and what they wait for is ended (simDaemon.die,
// simDaemon.reap).
//
//	make simulate SEEDS=10000            # many seeds
//	SEED=17 go test -run TestSimulation -v ./supervisor   # one, with its transcript and the daemons' log
//	REPEAT=600 go test -run TestASeedGivesTheSameRun ./supervisor
//	make mutants                         # does it find what is broken on purpose?
//
// A failure is shrunk and printed with its scenario as JSON. Put that into testdata/simulation,
// with a word on what it has found.
package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// simSeeds is how many seeds an ordinary run of the tests plays; `make simulate SEEDS=10000` plays
// more. With the race detector it is every eighth of them (rarely).
const simSeeds = 150

// mostFailures is how many failures are shown.
const mostFailures = 3

func numberFrom(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return otherwise
}

func TestSimulation(t *testing.T) {
	if seed := numberFrom("SEED", 0); seed != 0 {
		m := runScenario(t, simScenario(uint64(seed)), withLog)
		t.Logf("%s%s", m.sc, strings.Join(m.log, "\n"))
		if len(m.wrong) > 0 {
			t.Errorf("seed %d: %s", seed, m.wrong[0])
		}
		return
	}
	first, seeds := numberFrom("FIRST", 1), numberFrom("SEEDS", simSeeds/rarely)
	const shards = 2
	var next, events, saves, failed atomic.Int64
	var mu sync.Mutex
	var compared simCompared
	next.Store(int64(first) - 1)
	t.Run("seeds", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for failed.Load() < mostFailures {
					seed := next.Add(1)
					if seed >= int64(first+seeds) {
						return
					}
					m := runScenario(t, simScenario(uint64(seed)), inShort)
					events.Add(int64(m.events))
					saves.Add(int64(m.saves))
					mu.Lock()
					compared.add(m.compared)
					mu.Unlock()
					if len(m.wrong) > 0 {
						failed.Add(1)
						fail(t, fmt.Sprintf("seed %d", seed), m)
					}
				}
			})
		}
	})
	t.Logf("%d seeds, %d events, %d state files; guards: %+v", seeds, events.Load(), saves.Load(), compared)
	if seeds >= simSeeds && compared.lacks() {
		t.Errorf("the guards of all seeds: %+v", compared)
	}
}

// fail shows a failed run, as small as it can be made.
func fail(t *testing.T, of string, m *sim) {
	t.Helper()
	if os.Getenv("SHRINK") != "0" {
		m = runScenario(t, shrunk(t, m.sc), inShort)
	}
	found := "it does not fail again"
	if len(m.wrong) > 0 {
		found = m.wrong[0]
	}
	data, err := json.Marshal(m.sc)
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("%s: %s\n%s\n%s", of, found, excerpt(m), data)
}

func TestPastFailuresOfTheSimulation(t *testing.T) {
	files, err := filepath.Glob("testdata/simulation/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no past failures: %v", err)
	}
	for i, path := range files {
		if i%rarely != 0 {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var sc scenario
			if err := json.Unmarshal(data, &sc); err != nil {
				t.Fatal(err)
			}
			if m := runScenario(t, sc, inShort); len(m.wrong) > 0 {
				t.Errorf("%s\n%s", m.wrong[0], excerpt(m))
			}
		})
	}
}

func TestASeedGivesTheSameRun(t *testing.T) {
	for seed := range uint64(numberFrom("REPEAT", 40/rarely)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			sc := simScenario(1000 + seed)
			m := runScenario(t, sc, inFull)
			if len(m.wrong) > 0 {
				t.Errorf("%s\n%s", m.wrong[0], excerpt(runScenario(t, sc, inShort)))
			}
			first, second := m.log, runScenario(t, sc, inFull).log
			for i := range min(len(first), len(second)) {
				if first[i] != second[i] {
					t.Fatalf(
						"after\n%s\nline %d is\n%s\nand then\n%s", strings.Join(first[max(0, i-8):i], "\n"), i, first[i],
						second[i],
					)
				}
			}
			if len(first) != len(second) {
				t.Errorf("%d lines, and then %d", len(first), len(second))
			}
		})
	}
}
