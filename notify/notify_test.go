package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"superctl/api"
)

// team is the targets of a test and what they received.
type team struct {
	mu     sync.Mutex
	got    []string                                       // TARGET EVENT RELEASE, in order
	calls  []time.Time                                    // of every attempt
	answer func(target string, m *Message) error          // nil = success
	slow   func(ctx context.Context, target string) error // runs before the answer
}

func (t *team) deliver(ctx context.Context, to *Target, m *Message) error {
	t.mu.Lock()
	t.calls = append(t.calls, time.Now())
	slow, answer := t.slow, t.answer
	t.mu.Unlock()
	if slow != nil {
		if err := slow(ctx, to.Name); err != nil {
			return err
		}
	}
	if answer != nil {
		if err := answer(to.Name, m); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.got = append(t.got, fmt.Sprintf("%s %s %s", to.Name, m.Event, m.Outcome.Release))
	return nil
}

func (t *team) answers(f func(target string, m *Message) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = f
}

// times returns when attempts were made.
func (t *team) times() []time.Time {
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.calls)
}

func (t *team) want(tt *testing.T, lines ...string) {
	tt.Helper()
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(t.got, lines) {
		tt.Errorf("delivered:\n  %s\nwant:\n  %s", strings.Join(t.got, "\n  "), strings.Join(lines, "\n  "))
	}
}

// sender is the Sender of one daemon, with its log.
type sender struct {
	*Sender
	log  *observer.ObservedLogs
	stop func()
}

func (t *team) sender(dir string, targets ...string) *sender {
	core, log := observer.New(zap.InfoLevel)
	s := New(Options{Dir: dir, App: "shop", Host: "web1", Version: "test", Log: zap.New(core), deliver: t.deliver})
	s.Configure(chats(targets...))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return &sender{s, log, sync.OnceFunc(func() { cancel(); <-done })}
}

func chats(names ...string) (list []Target) {
	for _, name := range names {
		list = append(list, Target{Name: name, Service: "slack"})
	}
	return list
}

var changes atomic.Int64 // makes start times unique

// begun and ended return outcomes of a change.
func begun(release string) api.Outcome {
	return api.Outcome{
		Kind: "switch", Release: release, Previous: "r0", Who: "alice",
		Started: time.Now().Add(time.Duration(changes.Add(1))),
	}
}

func ended(of api.Outcome, result api.Result) api.Outcome {
	of.Result = result
	if result != api.Done {
		of.Error = "probation: it broke"
	}
	return of
}

func TestAFailingTargetGetsItsMessagesLaterInOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "outbox")
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(string, *Message) error { return &failure{why: "answered 503 Service Unavailable"} })
		s := all.sender(dir, "chat")
		defer s.stop()
		change := begun("r1")
		s.Tell(change)
		s.Tell(ended(change, api.Done))
		time.Sleep(time.Hour)
		if tr := s.Troubles(); len(tr) != 1 || tr[0].Of != "notify.chat" ||
			tr[0].Why != "answered 503 Service Unavailable; 2 waiting" || time.Since(tr[0].Since) < 59*time.Minute {
			t.Errorf("%+v", tr)
		}
		// Delays of 2, 4, 8 ... 256 seconds and then 300; each is at least half of that.
		calls := all.times()
		if n := len(calls); n < 16 || n > 36 {
			t.Errorf("%d attempts in an hour", n)
		}
		for i := range calls[1:] {
			if gap := calls[i+1].Sub(calls[i]); gap < time.Second || gap > maxDelay {
				t.Errorf("%s between attempts %d and %d", gap, i, i+1)
			}
		}
		all.answers(nil)
		time.Sleep(maxDelay)
		all.want(t, "chat start r1", "chat success r1")
		if len(s.Troubles()) != 0 || s.log.FilterLevelExact(zap.WarnLevel).Len() != 1 ||
			s.log.FilterMessageSnippet("reachable again").Len() != 1 {
			t.Errorf("%+v\n%v", s.Troubles(), s.log.All())
		}
	})
}

func TestAHangingTargetDelaysNoOtherAndNothingIsSentTwice(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.slow = func(ctx context.Context, target string) error {
			if target == "hangs" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		s := all.sender(dir, "chat", "hangs")
		defer s.stop()
		s.Tell(begun("r1"))
		s.Tell(begun("r2"))
		all.want(t, "chat start r1", "chat start r2")
		time.Sleep(callTimeout + time.Second)
		if tr := s.Troubles(); len(tr) != 1 || !strings.HasPrefix(tr[0].Why, "no answer within 20s") {
			t.Errorf("%+v", tr)
		}
	})
}

func TestARefusedMessageIsDroppedAndTheNextIsSent(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(_ string, m *Message) error {
			if m.Outcome.Release == "r1" {
				return &failure{why: "answered 400 Bad Request", permanent: true}
			}
			return nil
		})
		s := all.sender(dir, "chat")
		defer s.stop()
		s.Tell(begun("r1"))
		synctest.Wait()
		if tr := s.Troubles(); len(tr) != 1 || tr[0].Why != "answered 400 Bad Request" {
			t.Errorf("%+v", tr)
		}
		s.Tell(begun("r2"))
		all.want(t, "chat start r2")
		if len(s.Troubles()) != 0 || len(all.times()) != 2 {
			t.Errorf("%+v, %d calls", s.Troubles(), len(all.times()))
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(string, *Message) error {
			return &failure{why: "answered 429 Too Many Requests", after: 10 * time.Minute}
		})
		s := all.sender(dir, "chat")
		defer s.stop()
		s.Tell(begun("r1"))
		time.Sleep(10*time.Minute - time.Second)
		if len(all.times()) != 1 {
			t.Errorf("%d calls", len(all.times()))
		}
		time.Sleep(2 * time.Second)
		if len(all.times()) != 2 {
			t.Errorf("%d calls", len(all.times()))
		}
		all.answers(nil)
		time.Sleep(11 * time.Minute)
		all.want(t, "chat start r1")
		if tr := s.Troubles(); len(tr) != 0 {
			t.Errorf("it has got its only message, and is still told to fail: %+v", tr)
		}
	})
}

func TestAMessageIsDroppedAfterADay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(string, *Message) error { return errors.New("no route to host") })
		s := all.sender(dir, "chat")
		defer s.stop()
		s.Tell(begun("r1"))
		time.Sleep(giveUpAfter - time.Minute)
		if n := s.box.waiting()["chat"]; n != 1 {
			t.Errorf("%d wait", n)
		}
		time.Sleep(maxDelay + time.Minute)
		if n := s.box.waiting()["chat"]; n != 0 || s.log.FilterMessageSnippet("within a day").Len() != 1 {
			t.Errorf("%d wait\n%v", n, s.log.All())
		}
	})
}

func TestTheNextDaemonDeliversTheRestAndNothingTwice(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(target string, _ *Message) error {
			if target == "down" {
				return errors.New("connection refused")
			}
			return nil
		})
		s := all.sender(dir, "chat", "down")
		change := begun("r1")
		s.Tell(change)
		s.Tell(ended(change, api.Reverted))
		synctest.Wait()
		s.stop()
		all.want(t, "chat start r1", "chat revert r1")
		all.answers(nil)
		s = all.sender(dir, "chat", "down")
		defer s.stop()
		// from a daemon that knows less about the end than the one that was killed while it
		// reported
		s.Tell(ended(change, api.Aborted))
		all.want(t, "chat start r1", "chat revert r1", "down start r1", "down revert r1")
	})
}

func TestADeliveryByThePreviousDaemonIsNotRepeated(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(string, *Message) error { return errors.New("connection refused") })
		old := all.sender(dir, "chat")
		old.Tell(begun("r1"))
		synctest.Wait()
		// it waits for the end of the old daemon
		next := New(Options{Dir: dir, App: "shop", Log: zap.NewNop(), deliver: all.deliver})
		next.Configure(chats("chat"))
		next.Tell(begun("r2"))
		all.answers(nil)
		time.Sleep(time.Minute)
		old.stop()
		all.want(t, "chat start r1")
		ctx, cancel := context.WithCancel(t.Context())
		go next.Run(ctx)
		all.want(t, "chat start r1", "chat start r2")
		cancel()
		synctest.Wait()
	})
}

func TestAnEndingDaemonWaitsBrieflyForACall(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		took := 2 * time.Second
		all.slow = func(ctx context.Context, _ string) error {
			select {
			case <-time.After(took):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s := all.sender(dir, "chat")
		s.Tell(begun("r1"))
		synctest.Wait()
		s.stop()
		all.want(t, "chat start r1")
		if n := s.box.waiting()["chat"]; n != 0 {
			t.Errorf("%d wait", n)
		}
		took = time.Minute
		s = all.sender(dir, "chat")
		s.Tell(begun("r2"))
		synctest.Wait()
		asked := time.Now()
		s.stop()
		if d := time.Since(asked); d > grace+time.Second || s.box.waiting()["chat"] != 1 {
			t.Errorf("it took %s, %v", d, s.box.waiting())
		}
	})
}

func TestTheOutboxIsBounded(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(target string, _ *Message) error {
			if target == "down" {
				return errors.New("connection refused")
			}
			return nil
		})
		s := all.sender(dir, "down")
		for i := range maxWaiting + 20 {
			s.Tell(begun(fmt.Sprint("r", i)))
			time.Sleep(time.Second)
		}
		if n := s.box.waiting()["down"]; n != maxWaiting {
			t.Errorf("%d wait", n)
		}
		all.answers(nil)
		time.Sleep(maxDelay)
		s.stop()
		if len(all.got) != maxWaiting || all.got[0] != "down start r20" { // nothing is delivered after stop
			t.Errorf("%d: %s", len(all.got), all.got[0])
		}
		if left, _ := os.ReadDir(dir); len(left) != keepDelivered {
			t.Errorf("%d directories are left", len(left))
		}
	})
}

func TestADamagedMessageIsSetAsideAndDelaysNoOther(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		s := New(Options{Dir: dir, App: "shop", Log: zap.NewNop(), deliver: all.deliver})
		s.Configure(chats("chat"))
		for i := range 4 {
			s.Tell(begun(fmt.Sprint("r", i)))
			time.Sleep(time.Second)
		}
		messages, err := filepath.Glob(filepath.Join(dir, "0*"))
		if err != nil || len(messages) != 4 {
			t.Fatal(messages, err)
		}
		for _, err := range []error{
			os.WriteFile(filepath.Join(messages[0], bodyName), []byte(`{"id": "`), 0o600),
			os.Remove(filepath.Join(messages[1], bodyName)),
			os.WriteFile(filepath.Join(messages[2], bodyName), []byte(`{}`), 0o600),
			os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600),
			os.Mkdir(filepath.Join(dir, newDir+"000000000005-1-end"), 0o700),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		run := all.sender(dir, "chat")
		defer run.stop()
		all.want(t, "chat start r3")
		aside, _ := filepath.Glob(filepath.Join(dir, badDir+"*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, newDir+"*"))
		if len(aside) != 4 || len(hidden) != 0 || run.log.FilterMessageSnippet("set aside").Len() != 4 {
			t.Errorf("%q, %q, %v", aside, hidden, run.log.All())
		}
	})
}

func TestWithAnUnwritableDiskMessagesAreSentFromMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var all team
		s := all.sender(filepath.Join(file, "outbox"), "chat")
		defer s.stop()
		s.Tell(begun("r1"))
		all.want(t, "chat start r1")
		if s.log.FilterMessage("write to the outbox").Len() != 1 {
			t.Errorf("%v", s.log.All())
		}
	})
}

func TestMessagesForARemovedTargetAreDropped(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		all.answers(func(string, *Message) error { return errors.New("connection refused") })
		s := all.sender(dir, "old")
		defer s.stop()
		s.Tell(begun("r1"))
		synctest.Wait()
		all.answers(nil)
		s.Configure(chats("new"))
		s.Tell(begun("r2"))
		all.want(t, "new start r2")
		time.Sleep(time.Hour)
		all.want(t, "new start r2")
		if len(s.Troubles()) != 0 || s.box.waiting()["old"] != 0 {
			t.Errorf("%+v %v", s.Troubles(), s.box.waiting())
		}
	})
}

func TestATargetGetsItsEvents(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var all team
		s := all.sender(dir)
		defer s.stop()
		s.Configure([]Target{
			{Name: "all", Service: "teams"},
			{Name: "bad", Service: "email", On: []Event{Abort, Revert}},
			{Name: "mark", Service: "sentry"},
		})
		reload := api.Outcome{Kind: "reload", Release: "r1", Previous: "r1", Started: time.Now()}
		down, over := health(api.HealthDown), health(api.HealthOK)
		down.Started, over.Started = time.Now(), time.Now().Add(time.Minute)
		for _, out := range []api.Outcome{
			begun("r1"), ended(begun("r2"), api.Aborted),
			ended(begun("r3"), api.Reverted), ended(begun("r4"), api.Done), ended(reload, api.Done), down, over,
		} {
			s.Tell(out)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		all.mu.Lock()
		slices.Sort(all.got) // the order of the targets does not matter
		all.mu.Unlock()
		all.want(t, "all abort r2", "all down r1", "all ok r1", "all revert r3", "all start r1", "all success r1",
			"all success r4", "bad abort r2", "bad revert r3", "mark revert r3", "mark success r4")
	})
}
