package proc

import (
	"context"
	"errors"
	"os/exec"
	"testing"
)

func TestTheEndOfAProcessIsAwaited(t *testing.T) {
	cmd := exec.Command("sleep", "1h")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stat, err := ReadStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	given := errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	got := make(chan error)
	await := func(ctx context.Context, start uint64) { got <- AwaitEnd(ctx, cmd.Process.Pid, start) }
	go await(ctx, stat.Start)
	go await(t.Context(), stat.Start)
	cancel(given)
	if err := <-got; !errors.Is(err, given) {
		t.Errorf("while the process runs: %v", err)
	}
	go await(t.Context(), stat.Start-1)
	if err := <-got; err != nil {
		t.Errorf("an earlier process with the PID: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("ended: %v", err)
	}
	_ = cmd.Wait()
	if err := AwaitEnd(t.Context(), cmd.Process.Pid, stat.Start); err != nil {
		t.Errorf("after its end: %v", err)
	}
}
