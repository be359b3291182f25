package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// TestANewPipeNeverHasThePathOfAnEarlierOne has a worker die while no daemon is there: the next one reads its last words and
// removes its pipe while it starts another worker in its place.
func TestANewPipeNeverHasThePathOfAnEarlierOne(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		for range 5 {
			s, stop := w.supervisor(dir)
			if s.Status().Release == "" {
				switchTo(t, s, "r1")
			}
			leaveNow(s)
			stop()
			w.procs[len(w.procs)-1].die(worker.Exit{Known: true, Code: 1})
		}
		s, stop := w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		var paths []string
		for _, p := range w.procs {
			paths = append(paths, p.spec.Output)
		}
		if len(paths) < 5 || len(slices.Compact(slices.Sorted(slices.Values(paths)))) != len(paths) {
			t.Errorf("the paths of the pipes are %q", paths)
		}
		if st := s.Status(); st.Health != HealthOK {
			t.Errorf("health %s: %s", st.Health, st.Reason)
		}
	})
}

func TestAPipeThatIsGoneAlreadyIsNoFailure(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		w.releases["r1"] = behaviour{}
		if err := os.MkdirAll(filepath.Join(dir, "log", "g1.web.0.x", "it cannot be removed"), 0o700); err != nil {
			t.Fatal(err)
		}
		s, stop := w.supervisor(dir)
		defer stop()
		want(t, s, switchTo(t, s, "r1"), Done, "r1")
	})
}

func TestASinkThatBlocksHoldsUpNobody(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		stuck := make(chan struct{})
		var mu sync.Mutex
		var got []string
		w.options = func(o *Options) {
			o.Sink = func(l LogLine) {
				<-stuck
				mu.Lock()
				got = append(got, l.Text)
				mu.Unlock()
			}
		}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		for range 2 * sinkQueue {
			s.book.add(LogLine{Text: "a line"})
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
		close(stuck)
		synctest.Wait()
		s.book.add(LogLine{Text: "afterwards"})
		stop()
		mu.Lock()
		defer mu.Unlock()
		if !slices.ContainsFunc(got, func(text string) bool { return strings.Contains(text, "lines were lost here") }) {
			t.Errorf("nothing is said of the lines that were lost: %d lines, the last %q", len(got), got[len(got)-1])
		}
	})
}

func TestASinkThatBlocksForEverDoesNotHoldUpTheEnd(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		stuck := make(chan struct{})
		w.options = func(o *Options) { o.Sink = func(LogLine) { <-stuck } }
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		stop()
		close(stuck)
	})
}
