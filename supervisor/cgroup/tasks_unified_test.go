//go:build unified

package cgroup

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// It needs the pids controller in the unified hierarchy, which a machine that has it in cgroup v1
// cannot give: go test -tags unified ./supervisor/cgroup.
func TestWorkersThatForkWithoutEndLeaveTasksToTheDaemon(t *testing.T) {
	groups := tree(t)
	if err := write(groups.dir, "pids.max", "100"); err != nil {
		t.Fatal(err)
	}
	daemon := filepath.Join(groups.dir, daemonGroup)
	if err := makeGroup(daemon); err != nil {
		t.Fatal(err)
	}
	var all []*exec.Cmd
	for gen, script := range []string{
		"echo ready; exec sleep 1000", "(while :; do sleep 1000 >&- & done) 2>/dev/null; echo ready; wait",
	} {
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
