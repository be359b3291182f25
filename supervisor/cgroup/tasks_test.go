package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheWorkersMayHaveFewerTasksThanTheUnit(t *testing.T) {
	for unit, want := range map[string]string{"4915\n": "4851", "256\n": "192", "100\n": "75", "max\n": ""} {
		dir := t.TempDir()
		workers := filepath.Join(dir, workersGroup)
		if err := os.Mkdir(workers, 0o700); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{filepath.Join(dir, "pids.max"): unit, filepath.Join(workers, "pids.max"): ""} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		groups := &Tree{dir: dir, made: make(map[string]bool)}
		if err := groups.limitTasks(); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(filepath.Join(workers, "pids.max")); err != nil || string(got) != want {
			t.Errorf("of %q: %q %v, want %q", unit, got, err, want)
		}
	}
}

func TestWorkersThatForkWithoutEndLeaveTasksToTheDaemon(t *testing.T) {
	groups := tree(t)
	there, err := os.ReadFile(filepath.Join(groups.dir, "cgroup.controllers"))
	if err != nil || !strings.Contains(" "+strings.TrimSpace(string(there))+" ", " pids ") {
		t.Skip("needs the pids controller in the unified hierarchy")
	}
	if err := write(groups.dir, "pids.max", "100"); err != nil {
		t.Fatal(err)
	}
	daemon := filepath.Join(groups.dir, daemonGroup)
	if err := makeGroup(daemon); err != nil {
		t.Fatal(err)
	}
	var all []*exec.Cmd
	for gen, script := range []string{"echo ready; exec sleep 1000", "(while :; do sleep 1000 >&- & done) 2>/dev/null; echo ready; wait"} {
		dir, err := groups.Make(gen, "web.0", Limits{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, inside(t, dir, script))
	}
	tasks, ok := groups.Tasks()
	if !ok || tasks.Max != 75 || tasks.Now <= tasks.MostNow || tasks.Most != "g1/web.0" || tasks.MostNow < 60 {
		t.Errorf("%+v %v", tasks, ok)
	}
	cmd := inside(t, daemon, "sleep 1000 >&- & sleep 1000 >&- & echo ready; wait")
	if err := Kill(daemon); err != nil {
		t.Error(err)
	}
	if err := groups.Sweep(func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	for _, cmd := range append(all, cmd) {
		_ = cmd.Wait()
	}
}
