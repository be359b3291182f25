package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/e2e/fleet"
	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

// The size of the bench of a fleet.
const (
	fleetHosts    = 20  // default
	fleetTogether = 3   // hosts of the figure of the skew
	fleetSwitches = 100 // of that figure
	fleetTimes    = 5   // switches of each figure of the time
)

// fleetBench measures switches of several hosts, each a real systemd with a real sshd, and writes
// bench/FLEET.md.
func fleetBench(hosts int) func(*harness.Run) error {
	return func(run *harness.Run) error {
		if why := systemd.Unavailable(); why != "" {
			return errors.New("no hosts can be booted: " + why)
		}
		s := &scene{run: run}
		text, err := s.fleet(hosts)
		s.end()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join("bench", "FLEET.md"), []byte(text), 0o644)
	}
}

func (s *scene) fleet(n int) (text string, err error) {
	defer s.recovered(&err)
	load := loadAverage()
	binds, err := fleet.Binds(s.run, filepath.Join(s.run.Dir, "site"))
	s.must(err)
	before := memoryInUse()
	f, err := fleet.Boot(filepath.Join(s.run.Dir, filepath.Base(s.run.Dir)), n, binds...)
	s.must(err)
	defer func() { err = errors.Join(err, f.Close()) }()
	f.Reset(s)
	var t strings.Builder
	fmt.Fprintf(&t, `# Several hosts together

Made by `+"`go run ./bench fleet %d`"+` on %s: %s; load average %s at the start. All hosts are on this machine, each with its own
systemd and sshd; they take %d MB each. The site is a small Python server with a probation of 1 s, which a switch of several hosts
passes twice: on the canary host, and then on the others. The client opens a connection for each question, with curve25519.

`, n, time.Now().UTC().Format(time.DateOnly), machine(), load, (memoryInUse()-before)/int64(n)/(1<<20))
	t.WriteString("| hosts | switches | time, median | slowest | skew, median | p99 | most |\n|---|---|---|---|---|---|---|\n")
	for _, one := range []struct{ hosts, switches int }{{1, fleetTimes}, {fleetTogether, fleetSwitches}, {n, fleetTimes}} {
		row := s.switchHosts(f, one.hosts, one.switches)
		fmt.Print(row)
		t.WriteString(row)
	}
	t.WriteString("\nThe skew is the time between the first and the last cutover of the hosts after the canary host, by the machine's one clock.\n")
	return t.String(), nil
}

// switchHosts switches the first hosts of the fleet back and forth and returns a row of the table.
func (s *scene) switchHosts(f *fleet.Fleet, hosts, switches int) string {
	var names []string
	for _, h := range f.Hosts[:hosts] {
		names = append(names, fmt.Sprintf("%q", h.Name))
	}
	conf := filepath.Join(f.Dir, "superctl.fleet.toml")
	s.must(os.WriteFile(conf, []byte("[fleet.all]\napp = \"shop\"\nhosts = ["+strings.Join(names, ", ")+"]\n"), 0o644))
	var took, skew []time.Duration
	for i := range switches {
		var res struct {
			Seconds float64 `json:"seconds"`
			Skew    float64 `json:"skew_seconds"`
		}
		f.Operator(s, "env", "HOME="+f.Dir, s.run.Binary, "@all", "--config", conf, "switch", []string{"2", "1"}[i%2],
			"--json").Want(0).JSON(&res)
		took = append(took, time.Duration(res.Seconds*float64(time.Second)))
		skew = append(skew, time.Duration(res.Skew*float64(time.Second)))
	}
	slices.Sort(took)
	slices.Sort(skew)
	at := func(list []time.Duration, part float64) string {
		d := list[min(int(part*float64(len(list))), len(list)-1)]
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	row := fmt.Sprintf("| %d | %d | %s | %s |", hosts, switches, seconds(took[len(took)/2]), seconds(took[len(took)-1]))
	if hosts < fleetTogether {
		return row + " | | |\n"
	}
	return row + fmt.Sprintf(" %s | %s | %s |\n", at(skew, 0.5), at(skew, 0.99), at(skew, 1))
}

// loadAverage returns how many processes have wanted a processor, over the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}

// memoryInUse returns the bytes of this machine's memory that are not available for other programs.
func memoryInUse() int64 {
	text, _ := os.ReadFile("/proc/meminfo") // without it the figure is 0
	kb := make(map[string]int64)
	for line := range strings.Lines(string(text)) {
		var name string
		var n int64
		if _, err := fmt.Sscanf(line, "%s %d", &name, &n); err == nil {
			kb[name] = n
		}
	}
	return (kb["MemTotal:"] - kb["MemAvailable:"]) << 10
}
