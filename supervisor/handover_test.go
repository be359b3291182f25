package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// renewing makes a supervisor whose upgrades end as handOver says.
func renewing(w *world, handOver func([]Descriptor) error) {
	w.options = func(o *Options) {
		o.Renew = Renew{Check: func(context.Context) (string, error) { return "v2", nil }, HandOver: handOver}
	}
}

// liveWorker is the pid of the first worker of the live generation.
func liveWorker(t *testing.T, s *Supervisor) int {
	t.Helper()
	st := s.Status()
	for _, g := range st.Generations {
		if g.ID == st.Generation && len(g.Workers) > 0 {
			return g.Workers[0].PID
		}
	}
	t.Fatalf("no worker is live: %+v", st)
	return 0
}

func TestAnUpgradeLeavesEverythingToTheNextDaemonWhichGoesOnWithIt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		var handed []string
		renewing(w, func(all []Descriptor) error {
			for _, d := range all {
				handed = append(handed, d.Name)
			}
			return nil
		})
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		pid := liveWorker(t, s)
		out := change1(t, s, Request{Kind: Upgrade})
		stop()
		if out.Result != Done || out.Release != "v2" || out.Previous != "test" || !s.Left() {
			t.Errorf("%+v", out)
		}
		slices.Sort(handed)
		if got := strings.Join(handed, " "); got != "listener/web/g1 log/g1/web/0 worker/g1/web/0" {
			t.Errorf("handed over: %s", got)
		}
		next, stop := w.supervisor(dir)
		if now := liveWorker(t, next); now != pid {
			t.Errorf("worker %d became %d", pid, now)
		}
		want(t, next, switchTo(t, next, "r2"), Done, "r2")
		want(t, next, change1(t, next, Request{Kind: Rollback}), Done, "r1")
		stop()
	})
}

func TestAnUpgradeThatFailsChangesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		renewing(w, func([]Descriptor) error { return errors.New("child exited: exit status 3") })
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		before := liveWorker(t, s)
		out := change1(t, s, Request{Kind: Upgrade})
		want(t, s, out, Aborted, "r1")
		if !strings.Contains(out.Error, "exit status 3") || liveWorker(t, s) != before {
			t.Errorf("%+v", out)
		}
		want(t, s, switchTo(t, s, "r2"), Done, "r2")
	})
}

func TestANewProgramThatCouldNotTakeOverIsNotEvenStarted(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.options = func(o *Options) {
			o.Renew = Renew{
				Check:    func(context.Context) (string, error) { return "", errors.New("state version 9") },
				HandOver: func([]Descriptor) error { t.Error("it was started"); return nil },
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, change1(t, s, Request{Kind: Upgrade}), Aborted, "r1")
	})
}

func TestAnUpgradeIsRefusedDuringAChange(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		renewing(w, func([]Descriptor) error { t.Error("it was started"); return nil })
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		w.releases["slow"] = behaviour{answerAfter: 5 * time.Second}
		switched := make(chan *Outcome)
		go func() { switched <- switchTo(t, s, "slow") }()
		time.Sleep(time.Second)
		_, err := s.Change(context.Background(), Request{Kind: Upgrade}, func(Event) {})
		var busy *BusyError
		if !errors.As(err, &busy) {
			t.Errorf("%v", err)
		}
		want(t, s, <-switched, Done, "slow")
	})
}

func TestARestartOfTheServiceAbortsWhatHasNotTurnedAndKeepsTheWorkers(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		pid := liveWorker(t, s)
		w.releases["slow"] = behaviour{answerAfter: 5 * time.Second}
		switched := make(chan *Outcome)
		go func() { switched <- switchTo(t, s, "slow") }()
		time.Sleep(time.Second)
		s.Leave()
		if out := <-switched; out.Result != Aborted {
			t.Errorf("%+v", out)
		}
		stop()
		next, stop := w.supervisor(dir)
		defer stop()
		time.Sleep(time.Minute)
		if st := next.Status(); st.Release != "r1" || len(st.Generations) != 1 || liveWorker(t, next) != pid {
			t.Errorf("%+v", st)
		}
	})
}

func TestTheOwnerFeedsTheWatchdogAlsoWhileItHandsOver(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		var beats []time.Time
		renewing(w, func([]Descriptor) error { time.Sleep(10 * time.Second); return errors.New("timed out") })
		inner := w.options
		w.options = func(o *Options) {
			inner(o)
			o.BeatEvery, o.Beat = time.Second, func() { beats = append(beats, time.Now()) }
		}
		s, stop := w.supervisor(t.TempDir())
		switchTo(t, s, "r1")
		change1(t, s, Request{Kind: Upgrade})
		stop()
		for i := 1; i < len(beats); i++ {
			if gap := beats[i].Sub(beats[i-1]); gap > time.Second {
				t.Errorf("no beat for %s", gap)
			}
		}
		if len(beats) < 20 {
			t.Errorf("%d beats", len(beats))
		}
	})
}

func TestTheStoreHoldsJustWhatTheNextDaemonNeeds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		dir := t.TempDir()
		kept := newShelf(w)
		kept.kept["worker/g0/web/0"] = 0 // of a daemon before, and of no use any more
		w.options = func(o *Options) { o.Store, o.Stored = kept, kept.list() }
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := kept.names(); got != "listener/web/g2 log/g2/web/0 worker/g2/web/0" {
			t.Errorf("stored: %s", got)
		}
		s.Leave()
		stop()
		next, stop := w.supervisor(dir) // what it adopts is stored already, and not put a second time
		want(t, next, switchTo(t, next, "r1"), Done, "r1")
		stop()
		if len(kept.kept) > 0 {
			t.Errorf("left in the store: %s", kept.names())
		}
	})
}

// The socket of the daemon before may be gone from its path: then this daemon has bound another,
// under the same name.
func TestEachDaemonStoresItsOwnSocketInThePlaceOfAnOlderOne(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		var said []string
		kept := sayingShelf{newShelf(w), &said}
		kept.kept["control"], kept.extra = 5, map[string]int{"control": 7}
		w.options = func(o *Options) {
			o.Store, o.Stored = kept, []string{"control"}
			o.Extra = []Descriptor{{
				Name: "control", ID: "/run/shop.sock", Use: func(f func(int) error) error { return f(7) },
			}}
		}
		_, stop := w.supervisor(t.TempDir())
		defer stop()
		synctest.Wait()
		if got := strings.Join(said, ", "); got != "remove control, put control 7" {
			t.Errorf("the store is told: %s", got)
		}
	})
}

// sayingShelf is a shelf that writes down what it is told.
type sayingShelf struct {
	*shelf
	said *[]string
}

func (s sayingShelf) Put(name string, fd int) error {
	*s.said = append(*s.said, fmt.Sprint("put ", name, " ", fd))
	return s.shelf.Put(name, fd)
}

func (s sayingShelf) Remove(name string) error {
	*s.said = append(*s.said, "remove "+name)
	return s.shelf.Remove(name)
}

func TestAStateOfANewerDaemonIsReadWhenItSaysThatItCanBe(t *testing.T) {
	for needs, readable := range map[int]bool{stateVersion: true, stateVersion + 1: false} {
		s := New(Options{App: "shop", State: t.TempDir()})
		data := fmt.Sprintf(
			`{"version": %d, "needs": %d, "app": "shop", "next_generation": 7, "unknown": [1]}`, stateVersion+1, needs,
		)
		if err := os.WriteFile(filepath.Join(s.opt.State, stateName), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.CheckState(); (err == nil) != readable {
			t.Errorf("needs %d: %v", needs, err)
		}
	}
}

func TestAChangeWaitsForADaemonThatIsTakingOverButNotForever(t *testing.T) {
	for _, c := range []struct {
		takes time.Duration
		busy  bool
	}{{startPatience / 2, false}, {startPatience * 2, true}} {
		virtual(t, func(t *testing.T, w *world) {
			w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
			dir := t.TempDir()
			s, stop := w.supervisor(dir)
			switchTo(t, s, "r1")
			want(t, s, switchTo(t, s, "r2"), Done, "r2")
			leaveNow(s)
			stop()
			w.options = func(o *Options) {
				o.Fault = func(at string) {
					if at == "start: before adopt" {
						time.Sleep(c.takes)
					}
				}
			}
			s, stop = w.starting(dir)
			defer stop()
			<-s.Adopted()
			out, err := s.Change(t.Context(), Request{Kind: Rollback}, func(Event) {})
			var busy *BusyError
			switch {
			case errors.As(err, &busy) != c.busy:
				t.Errorf("taking over for %s: %v", c.takes, err)
			case !c.busy && err != nil:
				t.Errorf("taking over for %s: %v", c.takes, err)
			case !c.busy:
				want(t, s, out, Done, "r1")
			}
		})
	}
}
