package supervisor

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"superctl/supervisor/worker"
)

// TestANewPipeNeverHasThePathOfAnEarlierOne has a worker die while no daemon is there: the next one
// reads its last words and removes its pipe while it starts another worker in its place.
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

// TestAWorkerStartsWithItsPipeAfterAnAdoption has a worker die while no daemon is there. Its pipe,
// of the kernel's here, has more or less in it, and is removed by its reader before, or whenever,
// the next worker starts.
func TestAWorkerStartsWithItsPipeAfterAnAdoption(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 8))
		w := newWorld(t)
		w.pipes = true
		w.releases["r1"] = behaviour{}
		w.plan = func(p Plan) Plan {
			p.Probation, p.Processes[0].Health, p.Processes[0].ReadyAfter = 0, nil, time.Millisecond
			return p
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		leaveNow(s)
		stop()
		first := w.newest("r1")
		write(t, first.spec.Output, random.IntN(3)*random.IntN(1<<16))
		first.die(worker.Exit{Known: true, Code: 1})
		removedFirst := random.IntN(2) == 0
		w.begins = func(spec worker.Spec) error {
			if removedFirst {
				awaitRemoval(t, first.spec.Output)
			}
			_, err := os.Stat(spec.Output)
			return err
		}
		s, stop = w.supervisor(dir)
		for deadline := time.Now().Add(time.Minute); s.Status().Health != HealthOK; {
			if time.Now().After(deadline) {
				t.Fatalf("seed %d: %+v", seed, s.Status())
			}
		}
		if n := len(w.processes()); n != 2 {
			t.Errorf("seed %d: %d workers were started", seed, n)
		}
		awaitRemoval(t, first.spec.Output)
		if _, err := os.Stat(w.newest("r1").spec.Output); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		stop()
	}
}

// write puts some lines into a pipe that nobody reads, as many as fit.
func write(t *testing.T, pipe string, bytes int) {
	t.Helper()
	fd, err := unix.Open(pipe, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for line := []byte("a line\n"); bytes > 0 && err == nil; bytes -= len(line) {
		_, err = unix.Write(fd, line)
	}
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
}

// awaitRemoval waits until the reader of a pipe has removed it.
func awaitRemoval(t *testing.T, pipe string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		if _, err := os.Stat(pipe); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is not removed", pipe)
			return
		}
	}
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
