package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"superctl/e2e/harness"
)

// The size of the bench of many workers. The last few processes start one after the other, in a
// chain.
const (
	manyProcesses = 100 // default
	manyInstances = 10
	manyChain     = 3
)

// manyBench measures a daemon with ten workers of each process and writes bench/MANY.md.
func manyBench(processes int) func(*harness.Run) error {
	return func(run *harness.Run) error { return measureMany(run, processes) }
}

func measureMany(run *harness.Run, processes int) error {
	s := &scene{run: run}
	list, err := s.many(processes)
	s.end()
	if err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "# Many workers\n\nMade by `make bench-many` on %s: %s. %d processes of %d `sleep` each, without control groups; the last %d processes start one after the other (`after`).\n\n| | | |\n|---|---|---|\n",
		time.Now().UTC().Format(time.DateOnly), machine(), processes, manyInstances, manyChain)
	for _, f := range list {
		fmt.Fprintf(&t, "| %s | %s | %s |\n", f.what, f.value, f.how)
	}
	return os.WriteFile(filepath.Join("bench", "MANY.md"), []byte(t.String()), 0o644)
}

func (s *scene) many(processes int) (list []figure, err error) {
	defer s.recovered(&err)
	s.make()
	for _, name := range names {
		s.file(filepath.Join("releases", name, "readme"), name)
	}
	conf := s.file("many.toml", manyConfig(s.dir, processes))
	daemon := s.spawn(nil, nil, s.run.Binary, "--config", conf, "daemon")
	if !within(patience, func() bool { return s.command(s.run.Binary, "--config", conf, "status") == nil }) {
		return nil, errors.New("the daemon does not answer: " + s.log())
	}
	var follow float64
	for _, name := range names { // the second one replaces a thousand
		out := s.switchMany(conf, name)
		for _, step := range out.Steps {
			if step.Name == "follow" {
				follow = max(follow, step.Seconds)
			}
		}
	}
	gone := func() bool {
		var st struct{ Generations []json.RawMessage }
		s.json(&st, conf, "status", "--json")
		return len(st.Generations) == 1
	}
	if !within(patience, gone) {
		return nil, errors.New("the old release does not end")
	}
	took := make([]time.Duration, 21)
	for i := range took {
		<-time.After(1100 * time.Millisecond) // the daemon caches the measurements of a status for a second
		began := time.Now()
		s.must(s.command(s.run.Binary, "--config", conf, "status"))
		took[i] = time.Since(began)
	}
	pid := daemon.Process.Pid
	memory := resident(pid)
	<-time.After(2 * time.Second)
	before := switched(pid)
	<-time.After(idle)
	return []figure{
		{
			"`superctl status`, start to exit", median(took),
			"median of 21, each more than a second after the one before",
		},
		{
			"`follow` of a switch", fmt.Sprintf("%.1f s", follow),
			fmt.Sprintf("the longer of 2; the chain of %d takes %d s by itself", manyChain, manyChain),
		},
		{"the daemon's resident memory", memory, "after 2 switches and the above"},
		{
			"the daemon's context switches, idle", fmt.Sprintf("%.1f/s", float64(switched(pid)-before)/idle.Seconds()),
			idle.String(),
		},
	}, nil
}

func manyConfig(dir string, processes int) string {
	var t strings.Builder
	fmt.Fprintf(&t, "app = \"many\"\nreleases = %q\nstate = %q\ncontrol = %q\nvirtualenv = false\nprobation = \"0s\"\n",
		filepath.Join(dir, "releases"), filepath.Join(dir, "state"), filepath.Join(dir, "many.sock"))
	for i := range processes {
		fmt.Fprintf(&t, "[process.p%d]\ncommand = [\"sleep\", \"infinity\"]\ninstances = %d\n", i, manyInstances)
		if i > processes-manyChain {
			fmt.Fprintf(&t, "after = [\"p%d\"]\n", i-1)
		}
	}
	return t.String()
}

// manyOutcome is the part of a switch's outcome that the bench reads.
type manyOutcome struct {
	Outcome, Error string
	Steps          []struct {
		Name    string
		Seconds float64
	}
}

// switchMany switches and returns the outcome.
func (s *scene) switchMany(conf, release string) (out manyOutcome) {
	s.json(&out, conf, "switch", release, "--json")
	if out.Outcome != "done" {
		s.Fatalf("switch %s: %s: %s", release, out.Outcome, out.Error)
	}
	return out
}

// json runs a command of superctl and parses the last line of its output.
func (s *scene) json(into any, conf string, args ...string) {
	cmd := exec.Command(s.run.Binary, append([]string{"--config", conf}, args...)...)
	cmd.Env = s.env()
	text, err := cmd.Output()
	if err != nil {
		s.Fatalf("superctl %s: %v: %s", strings.Join(args, " "), err, text)
	}
	s.must(json.Unmarshal(text, into))
}
