package supervisor

import (
	"context"
	"path/filepath"
	"strings"
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
