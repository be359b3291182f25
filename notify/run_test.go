package notify

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

// ofRun returns a change as a part of a run.
func ofRun(run string, of api.Outcome) api.Outcome {
	of.Run = run
	return of
}

func report(run string, result api.Result, behind ...string) api.RunReport {
	return api.RunReport{
		Kind: "deploy", Fleet: "production", Result: result, Release: "r1", Hosts: []string{"web1", "web3"}, Behind: behind,
		Seconds: 32, Who: "root", Origin: api.Origin{Run: run, Behalf: "anna@desk"},
	}
}

func TestARunIsOneMessageAtItsEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "outbox")
	synctest.Test(t, func(t *testing.T) {
		var all team
		var text string
		all.answers(func(_ string, m *Message) error { text = m.Text; return nil })
		s := all.sender(dir, "chat")
		defer s.stop()
		release := s.Hold("a")
		change := ofRun("a", begun("r1"))
		change.Commit = "9f3c2ab1deff"
		s.Tell(change)
		s.Tell(ended(change, api.Done))
		s.Tell(ofRun("b", ended(begun("r2"), api.Done))) // of another run, which is not held
		time.Sleep(time.Hour)
		all.want(t, "chat start r1", "chat success r2")
		if err := s.Announce(report("a", api.Done, "web2")); err != nil {
			t.Fatal(err)
		}
		release()
		if err := s.Announce(report("a", api.Aborted)); err != nil { // once
			t.Fatal(err)
		}
		all.want(t, "chat start r1", "chat success r2", "chat success r1")
		const want = "shop@production: r1 (9f3c2ab1de) is live on web1 and web3. BEHIND: web2 " +
			"(deploy by anna@desk (root), run a, 32.0 s)."
		if text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
	})
}

func TestAFollowerOfARunSaysNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "outbox")
	synctest.Test(t, func(t *testing.T) {
		var all team
		s := all.sender(dir, "chat")
		defer s.stop()
		change := ofRun("a", begun("r1"))
		change.Follower = true
		s.Tell(change)
		s.Tell(ended(change, api.Done))
		s.Tell(ended(change, api.Reverted))
		s.Tell(api.Outcome{Kind: api.HealthKind, Result: api.HealthDown, Release: "r1", Started: time.Now()})
		all.want(t, "chat down r1")
	})
}

func TestTheEndOfAChangeIsToldIfTheRunIsNot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "outbox")
	synctest.Test(t, func(t *testing.T) {
		var all team
		var text string
		all.answers(func(_ string, m *Message) error { text = m.Text; return nil })
		s := all.sender(dir, "chat")
		release := s.Hold("a")
		s.Tell(ofRun("a", ended(begun("r1"), api.Done)))
		all.want(t)
		release() // the client is gone
		all.want(t, "chat success r1")
		if !strings.HasSuffix(text, "The run has not reported its end: other hosts may differ.") {
			t.Error(text)
		}
		s.Hold("b")
		s.Tell(ofRun("b", ended(begun("r2"), api.Reverted)))
		s.stop()
		next := all.sender(dir, "chat") // the lock has ended with the daemon
		defer next.stop()
		all.want(t, "chat success r1", "chat revert r2")
	})
}
