package site

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
)

func TestAChangeThatWaitsForTheLockFollowsTheOther(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{More: script(map[string]string{
		"before": `[ "$SUPERCTL_RELEASE" != r2 ] || read line < "$PIPE"`,
	})})
	a.Options.Env = "PIPE = \"" + a.Path("pipe") + "\"\n"
	a.WriteConfig()
	a.Releases("r1", "r2", "r3")
	pipe := mkfifo(t, a.Path("pipe"))
	a.Start("r1")
	first := a.Begin("switch", "r2")
	first.Await("before")
	a.Command("switch", "r3").Want(4)
	a.Command("switch", "r3", "--wait-lock", "1ms").Want(4).Says("another change is in progress: switch to r2")
	second := a.Begin("switch", "r3", "--wait-lock", "5m")
	second.Await("wait")
	if _, err := pipe.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	first.Wait().Want(0)
	second.Wait().Want(0)
	if st := a.Status(); st.Release != "r3" || st.Previous != "r2" {
		t.Errorf("%s is live, %s was", st.Release, st.Previous)
	}
}

// mkfifo makes a FIFO and opens it, so that writers and readers do not block.
func mkfifo(t *testing.T, path string) *os.File {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(f.Close(), os.Remove(path)) })
	return f
}
