package supervisor

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// slowDisk has every write of the state file wait until the returned function is called.
func slowDisk(w *world) (mend func()) {
	mended := make(chan struct{})
	w.set(func() {
		w.disk = func(path string) bool {
			if filepath.Base(path) == stateName {
				<-mended
			}
			return true
		}
	})
	return func() { close(mended) }
}

func TestADiskThatHangsDoesNotHoldUpStatus(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		defer slowDisk(w)()
		out := make(chan *Outcome, 1)
		go func() {
			o, _ := s.Change(context.Background(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
			out <- o
		}()
		synctest.Wait()
		if st := s.Status(); st.Changing == nil || st.Release != "r1" {
			t.Errorf("status during a write: %+v", st)
		}
		if o := <-out; o.Result != Aborted || !strings.Contains(o.Error, "not written within 10s") {
			t.Errorf("a switch whose step cannot be saved: %s %s", o.Result, o.Error)
		}
	})
}

func TestAWriteThatEndsLateIsFollowedByWhatChangedMeanwhile(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		mend := slowDisk(w)
		for range 2 {
			w.newest("r1").die(worker.Exit{Known: true, Code: 3})
			time.Sleep(20 * time.Second)
		}
		mend()
		time.Sleep(longestRest)
		synctest.Wait()
		st, err := readState(dir, "shop")
		if err != nil {
			t.Fatal(err)
		}
		if saved, now := st.Generations[0].Workers[0].PID, liveWorker(t, s); saved != now {
			t.Errorf("the state has worker %d, and %d runs", saved, now)
		}
	})
}

// A disk that takes 20 ms for a file: ten changes one after the other that no step waits for are far
// fewer files, and the last one has them all.
func TestWritesThatNoStepWaitsForArePaced(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		time.Sleep(time.Minute)
		var writes atomic.Int32
		w.set(func() {
			w.disk = func(path string) bool {
				if filepath.Base(path) == stateName {
					writes.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
				return true
			}
		})
		for range 10 {
			_ = s.do(func() { s.next++; s.journal.dirty = true })
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := writes.Load(); n < 2 || n > 4 {
			t.Errorf("ten changes in 0.2 s: %d files, want one each 0.1 s", n)
		}
		st, err := readState(dir, "shop")
		if next := ask(s.core, func() int { return s.next }); err != nil || st.Next != next {
			t.Errorf("the file has next = %d, the owner %d: %v", st.Next, next, err)
		}
		began := time.Now()
		if err := s.journal.durable(); err != nil || time.Since(began) > 40*time.Millisecond {
			t.Errorf("a step waited %s for its file: %v", time.Since(began), err)
		}
		if err := s.journal.durable(); err != nil || time.Since(began) > 60*time.Millisecond {
			t.Errorf("a step waited %s for the next file, as if it had to rest: %v", time.Since(began), err)
		}
	})
}

func TestAnAdoptedWorkerHasNoMoreTimeAfterTheClockWasSetBack(t *testing.T) {
	now := time.Now()
	ahead, before := now.Add(24*time.Hour), now.Add(-time.Minute)
	st := state{Generations: []generationState{
		{Since: ahead.Round(0), Workers: []workerState{{Since: ahead.Round(0)}}},
		{Since: before.Round(0), Workers: []workerState{{Since: before.Round(0)}}},
	}}
	st.onMonotonicClock(now)
	for i, want := range []time.Duration{0, time.Minute} {
		g := st.Generations[i]
		for _, since := range []time.Time{g.Since, g.Workers[0].Since} {
			if got := now.Sub(since); got != want {
				t.Errorf("%s have passed, not %s", got, want)
			}
		}
	}
}

func TestAnErrorOfTheStateFileNamesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "state.json")
	if err := writeFile(path, nil); err == nil || err.Error() != "open "+path+": no such file or directory" {
		t.Errorf("got %v", err)
	}
}
