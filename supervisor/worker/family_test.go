package worker

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// started waits until a script has written the pids of its processes.
func started(t *testing.T, path string, count int) []int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		text, _ := os.ReadFile(path) // not there yet
		if words := strings.Fields(string(text)); len(words) == count {
			var pids []int
			for _, word := range words {
				pid, err := strconv.Atoi(word)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			return pids
		}
	}
	t.Fatal("the script has not started all")
	return nil
}

func TestTheFamilyOfAWorkerIsAllThatItHasStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pids")
	out := filepath.Join(t.TempDir(), "out")
	output, err := OpenOutput(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	// A child, one with a session of its own, and one whose parent has ended.
	script := `sleep 600 & echo $! >> "$0"; setsid sh -c 'echo $$ >> "$0"; exec sleep 600' "$0" & (setsid sh -c 'echo $$ >> "$0"; exec sleep 600' "$0" &); echo $$ >> "$0"; wait`
	w, err := Start(t.Context(), Spec{
		App: "shop", Process: "web", Command: []string{"/bin/sh", "-c", script, path}, Dir: "/", Output: out,
		Env: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.KillAll(); err != nil {
			t.Error(err)
		}
	}()
	want := started(t, path, 4)
	got := w.Family()
	if got[0] != w.PID() {
		t.Errorf("%v does not begin with %d", got, w.PID())
	}
	for _, pid := range want {
		if !slices.Contains(got, pid) {
			t.Errorf("%v has no %d of %v", got, pid, want)
		}
	}
	if slices.Contains(got, os.Getpid()) || slices.Contains(got, 1) {
		t.Errorf("%v has strangers", got)
	}
}
