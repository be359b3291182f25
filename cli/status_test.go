//go:build linux

package cli

import (
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
)

// longLines returns the lines of text that are longer than width.
func longLines(text string, width int) (long []string) {
	for line := range strings.Lines(text) {
		if terminal.Width(strings.TrimSuffix(line, "\n")) > width {
			long = append(long, line)
		}
	}
	return long
}

func TestTheStatusFitsAnOrdinaryTerminal(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	workers := []api.WorkerStatus{
		{
			Process: "web", Instance: 0, PID: 1234567, State: string(api.InstanceReady),
			Since: now.Add(-50 * time.Minute), MemoryBytes: 456 << 20,
		},
		{
			Process: "worker", Instance: 11, PID: 1234568, State: string(api.InstanceBackoff),
			Since: now.Add(-50 * 24 * time.Hour), Restarts: 1234,
		},
	}
	generations := []api.GenerationStatus{
		{ID: 1233, Release: "2026-11-27-11-hotfix", State: string(api.Draining), Connections: 1234, Workers: workers},
		{ID: 1234, Release: "2026-11-28-12", State: string(api.Live), Connections: 12, Workers: workers},
	}
	st := &api.Status{
		App: "shop", Release: "2026-11-28-12", Generation: 1234, Health: "ok", Generations: generations,
	}
	for _, p := range []terminal.Palette{false, true} {
		b := terminal.NewText(80)
		workerTable(st, p, now).Write(b, "  ")
		if long := longLines(b.String(), 80); long != nil {
			t.Errorf("longer than 80 columns:\n%s", strings.Join(long, ""))
		}
		whole := terminal.NewText(0)
		workerTable(st, p, now).Write(whole, "  ")
		for _, text := range []string{"2026-11-27-11-hotfix", "1234567", "worker.11", "478 MB"} {
			if !strings.Contains(whole.String(), text) {
				t.Errorf("without a terminal %q is missing:\n%s", text, whole.String())
			}
		}
	}
}
