package worker

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// One child is in its worker's process group, one in a session of its own, and one has lost its
// parent too.
func TestAWorkerIsMeasuredWithAllThatItHasStarted(t *testing.T) {
	const script = `say='echo $$; exec sleep 1000'
		(setsid sh -c "$say" &)
		setsid sh -c "$say" &
		sh -c "$say" &
		eval "$say"`
	var workers []Measured
	want := make([][]int, 2)
	for i := range want {
		path := filepath.Join(t.TempDir(), "out")
		out, err := OpenOutput(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Start(t.Context(), Spec{
			Command: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/", Output: path,
			Mark: "measured",
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := w.KillAll(); err != nil {
				t.Error(err)
			}
			<-w.Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		out.OnLine(func(l Line) {
			pid, err := strconv.Atoi(string(l.Text))
			if err != nil {
				t.Error(err)
			}
			if want[i] = append(want[i], pid); len(want[i]) == 4 {
				cancel()
			}
		})
		if err := out.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
	}
	for i, u := range Measure(workers) {
		slices.Sort(want[i])
		slices.Sort(u.PIDs)
		if !slices.Equal(u.PIDs, want[i]) || !slices.Contains(want[i], workers[i].PID()) {
			t.Errorf("worker %d (%d) has processes %d, not %d", i, workers[i].PID(), u.PIDs, want[i])
		}
		if u.Memory == 0 {
			t.Errorf("worker %d uses no memory", i)
		}
	}
}

func BenchmarkMeasure(b *testing.B) {
	for range b.N {
		Measure(nil)
	}
}
