package site

import (
	"os"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

func TestARollbackToAnAlteredReleaseIsCorrectOrRefused(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2", "r3", "r4")
	a.Command("prune").Want(3).Says("nothing was removed, because the live release is unknown")
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	a.Command("switch", "r2").Want(0)
	a.Command("switch", "r3").Want(0)

	harness.Eventually(t, "the workers of r1 are gone", func() bool { return len(a.Status().Generations) == 1 })

	// After a prune: it never removes the target of a rollback.
	a.Command("prune", "--keep", "1", "--dry-run").Want(0).Says("a prune would remove 1 release")
	a.Command("prune", "--keep", "1").Want(0).Says(
		"removed 1 release", "live", "previous, the target of a rollback", "one of the 1 newest",
	)
	there(t, a, "r2", "r3", "r4")
	a.Command("rollback").Want(0)

	// After a restart of the daemon, and a prune without a daemon.
	a.Lossless(requests)
	a.Daemon.Stop()
	a.Command("prune", "--keep", "1").Want(0).Says("no release to remove")
	there(t, a, "r2", "r3", "r4")
	a.Start("")
	requests = a.Load(requestsOfAFewUsers())
	a.Command("rollback").Want(0)
	if st := a.Status(); st.Release != "r3" || st.Previous != "r2" {
		t.Errorf("%+v", st)
	}

	// To a release that is being copied, and to one that was removed.
	marker := a.Path("releases", "r2", ".incomplete")
	a.WriteFile("releases/r2/.incomplete", "")
	a.Command("rollback").Want(1).Says("the marker "+marker+" is there", "r3 is still live, untouched")
	remove(t, a.Path("releases", "r2"))
	a.Command("rollback").Want(1).Says("release r2 no longer exists", "r3 is still live, untouched")
	a.Command("switch", "r2").Want(1).Says(`no release matches "r2"`)

	// While it is warm its workers run, so its files are not needed.
	a.Options.Top = `standby = "10m"`
	a.WriteConfig()
	a.Command("switch", "r4").Want(0)
	remove(t, a.Path("releases", "r3"))
	a.Command("rollback").Want(0).Says("still warm", "warning: release r3 no longer exists")
	if st := a.Status(); st.Release != "r3" {
		t.Errorf("%+v", st)
	}
	a.Lossless(requests)
}

// there fails the test unless exactly these releases exist, and no partly removed one.
func there(t *testing.T, a *harness.App, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(a.Path("releases"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if e.Name() != ".superctl" {
			found = append(found, e.Name())
		}
	}
	if strings.Join(found, " ") != strings.Join(names, " ") {
		t.Errorf("there are %v, want %v", found, names)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
