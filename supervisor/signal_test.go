package supervisor

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

func TestASignalReachesTheWorkersOfAllGenerations(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		handles := behaviour{handles: syscall.SIGUSR1}
		w.releases["r1"], w.releases["r2"] = handles, handles
		w.releases["slow"] = behaviour{handles: syscall.SIGUSR1, answerAfter: 30 * time.Second}
		w.plan = func(p Plan) Plan {
			p.Standby = time.Hour
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		switchTo(t, s, "r2")
		booting := make(chan struct{})
		go func() { defer close(booting); switchTo(t, s, "slow") }()
		time.Sleep(time.Second)
		synctest.Wait()
		out, err := s.Signal(api.SignalRequest{Process: "web", Signal: "USR1"})
		if err != nil || !out.Complete() {
			t.Fatalf("%+v, %v", out, err)
		}
		var got []string
		for _, one := range out.Workers {
			got = append(got, one.Release+": "+one.Reason)
		}
		if want := []string{"r1: ", "r2: ", "slow: it is starting"}; !slices.Equal(got, want) {
			t.Errorf("workers %q, want %q", got, want)
		}
		for i, p := range w.procs {
			if sent := len(p.got) == 1; sent != out.Workers[i].Sent || out.Workers[i].PID != p.pid {
				t.Errorf("%+v, and worker %d got %v", out.Workers[i], p.pid, p.got)
			}
		}
		<-booting
	})
}

func TestASignalThatWouldEndAWorkerIsNotSent(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		out, err := s.Signal(api.SignalRequest{Process: "web", Signal: "USR1"})
		if err != nil || out.Complete() || !strings.Contains(out.Workers[0].Reason, "does not handle SIGUSR1") {
			t.Errorf("%+v, %v", out, err)
		}
		if !w.procs[0].alive() || w.procs[0].stopped {
			t.Error("the worker got it")
		}
	})
}

func TestASignalThatCannotBeIsRefused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		for _, c := range []struct {
			req   api.SignalRequest
			usage bool
			says  string
		}{
			{api.SignalRequest{Process: "web", Signal: "USR1"}, false, "no release is live"},
			{api.SignalRequest{Process: "web", Signal: "KILL"}, true, "one of HUP, USR1, USR2"},
			{api.SignalRequest{Process: "web", Signal: "usr1"}, true, "one of HUP, USR1, USR2"},
			{api.SignalRequest{Process: "worker", Signal: "USR1"}, true, "the live release has web"},
		} {
			_, err := s.Signal(c.req)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Usage != c.usage || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v", c.req, err)
			}
			if s.Status().Release == "" {
				switchTo(t, s, "r1")
			}
		}
	})
}
