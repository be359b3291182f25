package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheWorkersMayHaveFewerTasksThanTheUnit(t *testing.T) {
	for unit, want := range map[string]string{"4915\n": "4851", "256\n": "192", "100\n": "75", "max\n": ""} {
		dir := t.TempDir()
		workers := filepath.Join(dir, workersGroup)
		if err := os.Mkdir(workers, 0o700); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{
			filepath.Join(dir, "pids.max"): unit, filepath.Join(workers, "pids.max"): "",
		} {
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
