package supervisor

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// writeState writes the state of an app with one worker.
func writeState(t *testing.T, dir, app string, pid int) {
	t.Helper()
	st := state{
		Version: stateVersion, Needs: stateVersion, App: app, Next: 2,
		Generations: []generationState{{ID: 1, State: Live, Workers: []workerState{{Process: "web", State: InstanceReady, PID: pid, StartTime: 7}}}},
	}
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateName), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// daemonOf starts a process that keeps the lock of a state directory open, as a daemon does.
func daemonOf(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, LockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `exec 9<"$1/lock"; echo open; read end`, "daemon", dir)
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if errIn != nil || errOut != nil {
		t.Fatal(errIn, errOut)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // read has failed at the end of its input
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
}

func TestACopyOfTheStateOfARunningDaemonIsRefused(t *testing.T) {
	original, copied := t.TempDir(), t.TempDir()
	writeState(t, original, "shop", 4711)
	writeState(t, copied, "shop", 4711)
	if err := CheckStateOf(copied, "shop"); err != nil {
		t.Errorf("before a daemon runs: %v", err)
	}
	daemonOf(t, original)
	err := CheckStateOf(copied, "shop")
	if err == nil || !strings.Contains(err.Error(), "state directory "+copied+" is a copy of "+original+", whose daemon runs (pid ") {
		t.Errorf("of a copy: %v", err)
	}
	if err := CheckStateOf(original, "shop"); err != nil {
		t.Errorf("of the original: %v", err)
	}
	writeState(t, copied, "shop", 4712)
	if err := CheckStateOf(copied, "shop"); err != nil {
		t.Errorf("of another daemon's state with the same name: %v", err)
	}
}
