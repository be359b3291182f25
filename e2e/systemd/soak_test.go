//go:build soak

package systemd

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
)

// memoryGrowth is how much the memory of a daemon may grow after the first minute: the Go heap
// varies by a few MiB, and a leak of a kilobyte for each action would exceed this.
const memoryGrowth = 8 << 20

// TestSoak performs all actions on a daemon in random order, for SUPERCTL_SOAK (10 minutes). It
// prints its seed; SUPERCTL_SOAK_SEED repeats a run.
func TestSoak(t *testing.T) {
	lasts, err := time.ParseDuration(orElse(os.Getenv("SUPERCTL_SOAK"), "10m"))
	must(t, err)
	seed, err := strconv.ParseUint(
		orElse(os.Getenv("SUPERCTL_SOAK_SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64,
	)
	must(t, err)
	t.Logf("seed %d, %s", seed, lasts)
	random := rand.New(rand.NewPCG(seed, seed)) // it must be repeatable, not secret

	s, _ := installed(t, "r1", "r2", "r3")
	s.Edit(t, `probation = "0s"`, `probation = "1s"`)
	s.Start(t, "r1")
	requests := s.loadFor(t, lasts+10*time.Minute)
	actions := map[string]func(){
		"kill":    func() { s.Signal("KILL") },
		"switch":  func() { s.Superctl("switch", "r"+strconv.Itoa(1+random.IntN(3))).Want(0) },
		"reload":  func() { s.Run("systemctl", "reload", unit).Want(0) },
		"restart": func() { s.Run("systemctl", "restart", unit).Want(0) },
		"upgrade": func() { s.Superctl("upgrade").Want(0) },
		"kill in a switch": func() {
			switched := make(chan Result, 1)
			to := "r" + strconv.Itoa(1+random.IntN(3))
			go func() { switched <- s.Superctl("switch", to) }()
			for range random.IntN(20) { // each takes some milliseconds
				s.Property("ActiveState")
			}
			s.Signal("KILL")
			<-switched
		},
	}
	names := slices.Sorted(maps.Keys(actions))
	done := make(map[string]int)
	// The inventories are comparable after a minute, when each action has happened.
	began, first := time.Now(), map[string]int(nil)
	for time.Since(began) < lasts {
		name := names[random.IntN(len(names))]
		actions[name]()
		done[name]++
		s.rests(t)
		if first == nil && time.Since(began) > min(time.Minute, lasts/4) {
			first = s.inventory(t)
			t.Logf("after %d actions: %v", total(done), first)
		}
		if t.Failed() {
			break
		}
	}
	last := s.inventory(t)
	t.Logf("after %d actions (%v): %v", total(done), done, last)
	for what, n := range last {
		if limit := first[what] + map[string]int{"memory": memoryGrowth}[what]; n > limit {
			t.Errorf(
				"%s has grown from %d to %d\n%s", what, first[what], n,
				s.Run("find", group, "/var/lib/superctl/shop", "/run/superctl").Stdout,
			)
		}
	}
	s.lossless(t, requests)
	s.Run("systemctl", "stop", unit).Want(0)
	s.nothingLeft(t)
}

// rests waits until no change is in progress and only one generation is left.
func (s *Site) rests(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "the daemon runs and no change is in progress", func() bool {
		if s.Property("ActiveState") != "active" || s.Superctl("status").Code != 0 {
			return false
		}
		st := s.Status(t)
		return st.Changing == nil && st.Health == "ok" && len(st.Generations) == 1
	})
}

// inventory counts what could grow in a newly started daemon. The number of its descriptors depends
// on whether systemd or an upgrade started it.
func (s *Site) inventory(t *testing.T) map[string]int {
	t.Helper()
	s.Run("systemctl", "restart", unit).Want(0)
	s.rests(t)
	pid := strconv.Itoa(s.MainPID(t))
	count := func(script string) int {
		n, err := strconv.Atoi(strings.TrimSpace(s.Run("sh", "-c", script).Want(0).Stdout))
		must(t, err)
		return n
	}
	return map[string]int{
		"memory":         1024 * count("awk '/^VmRSS/ { print $2 }' /proc/"+pid+"/status"),
		"descriptors":    count("ls /proc/" + pid + "/fd | wc -l"),
		"control groups": count("find " + group + "/g* -type d | wc -l"), // systemd makes a .control beside them,
		"processes":      count("cat $(find " + group + " -name cgroup.procs) | wc -l"),
		"files":          count("find /var/lib/superctl/shop /run/superctl | wc -l"),
		"stored":         count("systemctl show --property NFileDescriptorStore --value " + unit),
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func orElse(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
