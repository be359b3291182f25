package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree creates a real group on this machine and marks it as systemd marks a delegated one.
func tree(t *testing.T) *Tree {
	t.Helper()
	mount, _, err := findMount()
	if err != nil {
		t.Skip("needs a cgroup2 mount: ", err)
	}
	dir, err := os.MkdirTemp(mount, "superctl-test")
	if err != nil {
		t.Skip("needs a cgroup2 mount that can be written: ", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(Kill(dir), removeAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if _, err := Open(dir); !errors.Is(err, ErrNotDelegated) {
		t.Fatalf("a group without the mark is accepted: %v", err)
	}
	if err := unix.Setxattr(dir, delegateXattr, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	made, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// inside runs a shell script inside the group, and returns once the script has printed "ready".
func inside(t *testing.T, dir, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", `echo 0 >"$1/cgroup.procs"; `+script, "sh", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	return cmd
}

func TestAKilledGroupHasNoSurvivor(t *testing.T) {
	for name, script := range map[string]string{
		"a process that ignores signals":    `trap "" TERM INT HUP QUIT; echo ready; while :; do sleep 1000; done`,
		"a process in a session of its own": `setsid env -i /bin/sleep 1000 >&- & echo ready; wait`,
		"a chain of forks": "f() { (f &) ; }; for i in 1 2 3 4; do f >&- 2>&- & done; " +
			"echo ready; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			groups := tree(t)
			dir, err := groups.Make(1, "web.0", Limits{})
			if err != nil {
				t.Fatal(err)
			}
			cmd := inside(t, dir, script)
			if err := Kill(dir); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || len(left) > 0 {
				t.Errorf("left: %s %v", left, err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it was not killed")
			}
			if err := groups.Remove(dir); err != nil {
				t.Error(err)
			}
			if exists(filepath.Dir(dir)) {
				t.Error("the generation's group is left over")
			}
		})
	}
}

func TestAWorkersGroupIsFoundByItsProcess(t *testing.T) {
	groups := tree(t)
	dir, err := groups.Make(7, "web.1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := inside(t, dir, "echo ready; exec sleep 1000")
	if got := groups.GroupOf(cmd.Process.Pid); got != dir {
		t.Errorf("%q, want %q", got, dir)
	}
	if got := groups.GroupOf(os.Getpid()); got != "" {
		t.Errorf("this process is reported in %q", got)
	}
	if err := Kill(dir); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

func TestASweepEndsAllButWhatIsKept(t *testing.T) {
	groups := tree(t)
	kept, err := groups.Make(1, "web.0", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	stray, err := groups.Make(2, "web.0", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := inside(t, stray, "echo ready; exec sleep 1000")
	if err := groups.Sweep(func(dir string) bool { return dir == kept }); err != nil {
		t.Error(err)
	}
	if !exists(kept) || exists(stray) {
		t.Errorf("kept is there: %v, the stray is there: %v", exists(kept), exists(stray))
	}
	_ = cmd.Wait()
}

func TestTheOtherWorkersOfAGenerationKeepItsGroup(t *testing.T) {
	groups := tree(t)
	one, err := groups.Make(1, "web.0", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := groups.Make(1, "web.1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := groups.Remove(one); err != nil || exists(one) || !exists(other) {
		t.Errorf("%v, %v, %v", err, exists(one), exists(other))
	}
}

func TestALimitIsSetOrReportedAsUnavailable(t *testing.T) {
	groups := tree(t)
	dir, err := groups.Make(1, "web.0", Limits{MemoryMax: 64 << 20, CPUWeight: 50})
	for file, want := range map[string]uint64{"memory.max": 64 << 20, "cpu.weight": 50} {
		got, readErr := os.ReadFile(filepath.Join(dir, file))
		switch {
		case readErr == nil && strings.TrimSpace(string(got)) != strconv.FormatUint(want, 10):
			t.Errorf("%s is %s", file, got)
		case readErr != nil && (err == nil || !strings.Contains(err.Error(), file)):
			t.Errorf("%s is not there, and the error is %v", file, err)
		}
	}
	if !exists(dir) {
		t.Error("the group was not made")
	}
}

// systemd starts a service in its own group, which the kernel refuses for a group whose children
// have controllers.
func TestAProcessMayEnterTheGroupItselfAfterARelease(t *testing.T) {
	groups := tree(t)
	dir, err := groups.Make(1, "web.0", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := groups.DisableControllers(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{groups.dir, filepath.Join(groups.dir, workersGroup), filepath.Dir(dir)} {
		on, err := os.ReadFile(filepath.Join(d, "cgroup.subtree_control"))
		if err != nil || len(strings.TrimSpace(string(on))) > 0 {
			t.Errorf("%s: %s %v", d, on, err)
		}
	}
	cmd := inside(t, groups.dir, "echo ready; exec sleep 1000")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

func TestUseCountsTheProcessorTimeOfAGroup(t *testing.T) {
	groups := tree(t)
	dir, err := groups.Make(1, "web.0", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := inside(t, dir, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready")
	_ = cmd.Wait()
	if u, ok := ReadUsage(dir); !ok || u.CPU == 0 {
		t.Errorf("%+v %v", u, ok)
	}
	if _, ok := ReadUsage(""); ok {
		t.Error("usage is reported for a worker without a group")
	}
}

func TestWithoutATreeNothingIsDone(t *testing.T) {
	var none *Tree
	dir, err := none.Make(1, "web.0", Limits{MemoryMax: 1 << 30})
	if dir != "" || err != nil {
		t.Errorf("%q %v", dir, err)
	}
	for _, err := range []error{
		none.Enter(), none.DisableControllers(), none.Sweep(nil), none.Remove("x"), none.Limit("x", Limits{}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if none.GroupOf(os.Getpid()) != "" {
		t.Error("a process is in a tree that does not exist")
	}
}
