package supervisor

import (
	"context"
	"sync"
	"syscall"
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

func TestAStopWhileAGateRefusesTheWayBackEndsTheDaemon(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{exitAfter: 4 * time.Second}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		refused := make(chan struct{})
		var once sync.Once
		w.gate.refuses = func(gen, _ int) error { // called by the owner
			if gen != s.generations[1].id || s.change == nil || s.change.stepName != stepRevert || s.stopping {
				return nil
			}
			once.Do(func() { close(refused) })
			return syscall.ENOMEM
		}
		go func() {
			_, _ = s.Change(context.Background(), Request{Kind: Switch, Release: "r2"}, func(Event) {})
		}()
		<-refused
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(time.Hour):
			t.Fatal("the daemon does not end")
		}
		st, err := New(Options{App: "shop", State: dir}).journal.load()
		if err != nil || st.Release == nil || st.Release.Name != "r1" {
			t.Errorf("the next daemon starts %+v, want r1 (%v)", st.Release, err)
		}
	})
}

// TestAStopInTheMiddleOfARevertEndsTheDaemon: whatever the strategy, a stop that comes while a
// background process of the failed release ends leaves no generation to be live again.
func TestAStopInTheMiddleOfARevertEndsTheDaemon(t *testing.T) {
	for name, prepare := range map[string]func(w *world){"held": heldWorld, "rolled": rollingWorld} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				prepare(w)
				w.each = func(release, process string, how behaviour) behaviour {
					switch {
					case release == "r2" && process == "web":
						how.answer = badFrom(12)
					case release == "r2":
						how.stopTakes = 5 * time.Second
					}
					return how
				}
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				switchTo(t, s, "r1")
				reverts := make(chan struct{})
				go func() {
					_, _ = s.Change(context.Background(), Request{Kind: Switch, Release: "r2"}, func(ev Event) {
						if ev.Type == "begin" && ev.Step == stepRevert {
							close(reverts)
						}
					})
				}()
				<-reverts
				time.Sleep(time.Second)
				synctest.Wait()
				started := len(w.procs)
				ended := make(chan struct{})
				go func() { stop(); close(ended) }()
				select {
				case <-ended:
				case <-time.After(time.Hour):
					t.Fatal("the daemon does not end")
				}
				if n := len(w.procs) - started; n != 0 {
					t.Errorf("%d workers were started while the daemon stopped", n)
				}
				st, err := New(Options{App: "shop", State: dir}).journal.load()
				if err != nil || st.Release == nil || st.Release.Name != "r1" {
					t.Errorf("the next daemon starts %+v, want r1 (%v)", st.Release, err)
				}
			})
		})
	}
}
