package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecondDaemonIsRefusedWithoutTheLockFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, removed := range []bool{false, true} {
		if removed {
			if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := lockState(dir); err == nil ||
			!strings.Contains(err.Error(), "a daemon of this app is already running") {
			t.Errorf("lock file removed: %v; a second daemon gets %v", removed, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
}
