package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// scratches is the names of the scratch directories below dir.
func scratches(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestAGenerationHasItsScratchDirectoryUntilItIsRetired(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		state, memory := t.TempDir(), t.TempDir()
		withVariables(w, memory, nil)
		s, stop := w.supervisor(state)
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		first := w.procs[0].spec.Scratch
		if first != filepath.Join(memory, "scratch", "g1") {
			t.Errorf("it is %q", first)
		}
		if st, err := os.Stat(first); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%v %v", st, err)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := scratches(t, memory); got != "g2" {
			t.Errorf("after the switch there are %q", got)
		}
		s.Leave()
		stop()
		if err := os.Mkdir(filepath.Join(memory, "scratch", "g1-7"), 0o700); err != nil { // an orphan
			t.Fatal(err)
		}
		_, stop = w.supervisor(state)
		_ = w.procs[1].KillAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := scratches(t, memory); got != "g2" ||
			w.procs[2].spec.Scratch != filepath.Join(memory, "scratch", "g2") {
			t.Errorf("after a restart of the daemon there are %q, and a worker has %q", got, w.procs[2].spec.Scratch)
		}
		stop()
		if _, err := os.Stat(filepath.Join(memory, "scratch")); !os.IsNotExist(err) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestAWorkerKeepsItsScratchDirectoryWhenAnotherProcessIsRestarted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		state, memory := t.TempDir(), t.TempDir()
		withVariables(w, memory, nil)
		plan := w.plan
		w.plan = func(p Plan) Plan {
			p = plan(p)
			p.Processes = append(p.Processes, background("worker", Overlap))
			return p
		}
		s, stop := w.supervisor(state)
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
		want(t, s, change1(t, s, Request{Kind: Restart, Process: "web"}), Done, "r1")
		time.Sleep(time.Minute)
		synctest.Wait()
		s.Leave()
		stop()
		_, stop = w.supervisor(state)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := scratches(t, memory); got != "g1 g2" {
			t.Errorf("there are %q", got)
		}
	})
}

func TestAScratchDirectoryFollowsNoLinkAndTakesNobodyElses(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	user := &worker.Credential{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := makeScratch(filepath.Join(dir, "link"), "g1", nil); err == nil {
		t.Error("the parent is a link, and was followed")
	}
	base := filepath.Join(dir, "base")
	if err := makeScratch(base, "g1", user); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(base, "g2")); err != nil {
		t.Fatal(err)
	}
	if err := makeScratch(base, "g2", nil); err == nil {
		t.Error("a link was taken for the directory")
	}
	if os.Geteuid() == 0 {
		if err := makeScratch(base, "g3", &worker.Credential{UID: 12345, GID: 12345}); err != nil {
			t.Error(err)
		}
		st, err := os.Stat(filepath.Join(base, "g3"))
		if err != nil || st.Sys().(*syscall.Stat_t).Uid != 12345 || st.Mode().Perm() != 0o700 {
			t.Errorf("%v %v", st, err)
		}
		if err := makeScratch(base, "g3", nil); err == nil {
			t.Error("another user's directory was taken")
		}
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeScratch(base, func(int) bool { return false }); err != nil {
		t.Error(err)
	}
	left, _ := os.ReadDir(elsewhere)
	if base, _ := os.ReadDir(base); len(left) != 1 || len(base) != 0 {
		t.Errorf("elsewhere %v, base %v", left, base)
	}
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := makeScratch(base, "g1", nil); err == nil {
		t.Error("everybody can write in the parent")
	}
}
