package supervisor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStopDuringARevertStartsNoWorker(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{exitAfter: 4 * time.Second}
		reverts, goOn := make(chan struct{}), make(chan struct{})
		w.options = func(o *Options) {
			o.Fault = func(point string) {
				if point == "switch: before revert" {
					close(reverts)
					<-goOn
				}
			}
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		go func() {
			_, _ = s.Change(context.Background(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
		}()
		<-reverts
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		started := len(w.procs)
		close(goOn)
		<-ended
		if n := len(w.procs) - started; n != 0 {
			t.Errorf("%d workers were started while the daemon stopped", n)
		}
		st, err := New(Options{App: "shop", State: dir}).journal.load()
		if err != nil || st.Release == nil || st.Release.Name != "r1" {
			t.Errorf("the next daemon starts %+v, want r1 (%v)", st.Release, err)
		}
	})
}
