//go:build linux

package lookcommand

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
	"superctl/plain"
)

// most is the number of workers of a process in the same state that the status lists on a terminal.
// More of them share a row.
const most = 8

// writeGenerations writes the generations with their workers.
func writeGenerations(w io.Writer, st *api.Status, p terminal.Palette, now time.Time) {
	uncounted := make(map[api.Uncounted]bool)
	for i := range st.Generations {
		g := &st.Generations[i]
		state := g.State
		if g.ID == st.Generation {
			state = p.Green(state)
		}
		fmt.Fprintln(w)
		detail(w, "generation %d: %s, %s, %s", g.ID, p.Bold(g.Release), state, plain.Count(g.Connections, "connection", "connections"))
		for _, line := range requestLines(g, uncounted) {
			fmt.Fprintln(w, terminal.Wrap(requestsIndent+line, terminal.Columns(w), len(requestsIndent)+2))
		}
		if len(g.Workers) > 0 {
			workerTable(g.Workers, terminal.Columns(w) > 0, p, now).Write(w, "    ")
		}
	}
}

// workerTable returns the table of the workers of a generation. With fold, many alike share a row.
func workerTable(workers []api.WorkerStatus, fold bool, p terminal.Palette, now time.Time) *terminal.Table {
	var t terminal.Table
	t.Head(p, "WORKER", "PID", "STATUS", "SINCE", "RESTARTS", "MEMORY")
	for len(workers) > 0 {
		n := 1
		if run := alike(workers); fold && run > most {
			n = run
		}
		t.Row(workerRow(workers[:n], now)...)
		workers = workers[n:]
	}
	return &t
}

// alike returns how many of the first workers are of the same process in the same state.
func alike(workers []api.WorkerStatus) int {
	differs := func(w api.WorkerStatus) bool {
		return w.Process != workers[0].Process || stateOf(&w) != stateOf(&workers[0]) || w.Restarts != workers[0].Restarts
	}
	if i := slices.IndexFunc(workers, differs); i >= 0 {
		return i
	}
	return len(workers)
}

// workerRow returns the cells of one worker, or of several that are alike: their memory in sum, and
// since when the newest is in its state.
func workerRow(workers []api.WorkerStatus, now time.Time) []string {
	first, last := workers[0], workers[len(workers)-1]
	name, pid, memory := fmt.Sprintf("%s.%d", first.Process, first.Instance), "-", uint64(0)
	switch {
	case len(workers) > 1:
		name, pid = fmt.Sprintf("%s to %d", name, last.Instance), fmt.Sprintf("%d workers", len(workers))
	case first.PID != 0:
		pid = fmt.Sprint(first.PID)
	}
	for i := range workers {
		memory += workers[i].MemoryBytes
	}
	newest := slices.MaxFunc(workers, func(a, b api.WorkerStatus) int { return cmp.Compare(a.Since.UnixNano(), b.Since.UnixNano()) })
	return []string{
		name, pid, stateOf(&first), terminal.Age(now, newest.Since), fmt.Sprint(first.Restarts), terminal.Memory(memory),
	}
}

// stateOf returns the state of a worker, and what its stop signal waits for.
func stateOf(w *api.WorkerStatus) string {
	if w.WaitsFor == "" {
		return w.State
	}
	return fmt.Sprintf("%s (waits for %s)", w.State, w.WaitsFor)
}
