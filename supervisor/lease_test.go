package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

// locked has a run lock the app, and returns what ends the lock and what it ended with.
func locked(t *testing.T, s *Supervisor, run string) (release func(), ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	has, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Lock(ctx, api.Lock{Why: "a deploy", Who: "anna", Origin: Origin{Run: run}}, func() { close(has) })
	}()
	select {
	case <-has:
	case err := <-ended:
		t.Fatalf("lock: %v", err)
	}
	return cancel, ended
}

func TestALockKeepsOtherRunsOutUntilItEnds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		w.options = func(o *Options) {
			o.Renew = Renew{
				Check:    func(context.Context) (string, error) { return "next", nil },
				HandOver: func([]Descriptor) error { return errors.New("it must not be asked") },
			}
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		release, ended := locked(t, s, "mine")
		if l := s.Status().Lock; l == nil || l.Run != "mine" || l.Why != "a deploy" {
			t.Errorf("status: %+v", l)
		}
		for _, req := range []Request{
			{Kind: Switch, Release: "r2"},
			{Kind: Switch, Release: "r2", Origin: Origin{Run: "other"}},
			{Kind: Restart, Process: "web"},
			{Kind: Upgrade},
		} {
			var busy *BusyError
			if _, err := s.Change(t.Context(), req, func(Event) {}); !errors.As(err, &busy) || busy.Lock == nil ||
				!strings.Contains(err.Error(), "locked for run mine by anna since ") {
				t.Errorf("%s %s: %v", req.Kind, req.Run, err)
			}
		}
		var busy *BusyError
		for _, run := range []string{"other", "mine"} {
			err := s.Lock(t.Context(), api.Lock{Why: "another", Origin: Origin{Run: run}}, func() { t.Error("it is locked twice") })
			if !errors.As(err, &busy) || busy.Lock == nil {
				t.Errorf("a second lock: %v", err)
			}
		}
		want(t, s, change1(t, s, Request{Kind: Switch, Release: "r2", Origin: Origin{Run: "mine"}}), Done, "r2")
		release()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
	})
}

func TestALockDoesNotKeepADeadWorkerDown(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{exitAfter: time.Minute}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		release, _ := locked(t, s, "mine")
		defer release()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(w.procs) < 2 || w.running["web"] != 1 {
			t.Errorf("%d were started, %d run", len(w.procs), w.running["web"])
		}
	})
}

func TestALockWaitsForNoChangeOfAnotherRun(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{answerAfter: time.Second}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		first := make(chan *Outcome)
		go func() { first <- change1(t, s, Request{Kind: Switch, Release: "r1", Origin: Origin{Run: "mine"}}) }()
		synctest.Wait()
		var busy *BusyError
		err := s.Lock(t.Context(), api.Lock{Why: "x", Origin: Origin{Run: "other"}}, func() { t.Error("it is locked") })
		if !errors.As(err, &busy) || busy.Changing.Release != "r1" {
			t.Errorf("%v", err)
		}
		release, _ := locked(t, s, "mine")
		release()
		<-first
	})
}

func TestALockEndsWithItsDaemon(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		release, ended := locked(t, s, "mine")
		defer release()
		leaveNow(s)
		stop()
		if err := <-ended; err == nil {
			t.Error("it does not notice")
		}
		s, stop = w.supervisor(dir)
		defer stop()
		if l := s.Status().Lock; l != nil {
			t.Errorf("the next daemon is locked: %+v", l)
		}
	})
}

func TestAWrongLockIsRefused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		for _, l := range []api.Lock{
			{Why: "x"},
			{Why: " ", Origin: Origin{Run: "mine"}},
			{Why: "a\nb", Origin: Origin{Run: "mine"}},
			{Why: strings.Repeat("x", 201), Origin: Origin{Run: "mine"}},
			{Why: "x", Origin: Origin{Run: "a b"}},
		} {
			var no *RefusedError
			if err := s.Lock(t.Context(), l, func() { t.Error("it is locked") }); !errors.As(err, &no) || !no.Usage {
				t.Errorf("%+v: %v", l, err)
			}
		}
	})
}

func TestAChangeWaitsForAnotherOneAndForALock(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"], w.releases["r3"] = behaviour{}, behaviour{}, behaviour{}
		w.plan = func(p Plan) Plan { p.Probation = time.Minute; return p }
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		ask := func(release string, wait time.Duration) chan error {
			ended := make(chan error, 1)
			go func() {
				out, err := s.Change(t.Context(), Request{Kind: Switch, Release: release, Wait: wait}, func(Event) {})
				if err == nil && out.Result != Done {
					err = errors.New(out.Error)
				}
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		first := ask("r1", 0)
		began := time.Now()
		second, third := ask("r2", time.Hour), ask("r3", time.Second)
		var busy *BusyError
		if err := <-third; !errors.As(err, &busy) || busy.Changing.Release != "r1" || time.Since(began) != time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		if live := s.Status().Release; live != "r2" {
			t.Errorf("%s is live", live)
		}

		release, ended := locked(t, s, "mine")
		fourth := ask("r3", time.Hour)
		select {
		case err := <-fourth:
			t.Fatalf("it did not wait for the lock: %v", err)
		default:
		}
		release()
		if err := errors.Join(<-ended, <-fourth); err != nil {
			t.Error(err)
		}
		if live := s.Status().Release; live != "r3" {
			t.Errorf("%s is live", live)
		}
	})
}
