package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// others has the workers of a process that start from now on act differently.
func (w *world) others(process string, how behaviour) {
	w.each = func(_, of string, as behaviour) behaviour {
		if of == process {
			return how
		}
		return as
	}
}

// Those that serve would answer a health check in the place of one that accepts from the same
// listener.
func TestANewInstanceIsProvedWhereNoOtherAnswersForIt(t *testing.T) {
	for says, how := range map[string]behaviour{
		"exit code 3":          {answerAfter: time.Hour, exitAfter: 3 * time.Second},
		"was not ready within": {answerAfter: time.Hour},
		"500":                  {answer: func(int) int { return 500 }},
	} {
		t.Run(says, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				switchTo(t, s, "r1")
				w.others("web", how)
				out := change1(t, s, scaleTo("web", 3))
				want(t, s, out, Aborted, "r1")
				if !strings.Contains(out.Error, says) {
					t.Errorf("%q does not say %q", out.Error, says)
				}
				scaled(t, w, s, "web", 1)
				for _, p := range w.procs[1:] {
					if p.spec.Generation == s.Status().Generation {
						t.Error("one that had not proved itself was on the listener of those that serve")
					}
				}
			})
		})
	}
}

func TestADaemonThatEndsWhileInstancesAreAddedTakesNoneAwayFromTheirListener(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		defer stop()
		switchTo(t, s, "r1")
		w.others("web", behaviour{answerAfter: time.Second})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			change1(t, s, scaleTo("web", 3))
		}()
		deadline := time.Now().Add(time.Minute)
		for w.onListener(s.Status().Generation) < 3 && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		st, err := s.journal.load() // as a daemon that is started now would
		if err != nil || st.Scale["web"] != 3 {
			t.Errorf("%v: %v", st.Scale, err)
		}
		<-ended
		scaled(t, w, s, "web", 3)
	})
}

// onListener is how many workers of a generation run.
func (w *world) onListener(generation int) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.spec.Generation == generation && p.alive() {
			n++
		}
	}
	return n
}

func TestTwoProcessesWithListenersAreNotReplacedByOneScale(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"] = behaviour{}
		admin := w.newGate("admin")
		w.options = func(o *Options) { o.Gates = append(o.Gates, admin) }
		w.plan = func(p Plan) Plan {
			second := p.Processes[0]
			second.Name, second.Listen, second.Health = "admin", []string{"admin"}, nil
			p.Processes = append(p.Processes, second)
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		want(t, s, change1(t, s, Request{Kind: Scale, Instances: map[string]int{"web": 3, "admin": 3}}), Done, "r1")
		before := s.Status().Generation
		_, err := s.Change(t.Context(), Request{Kind: Scale}, func(Event) {})
		if err == nil || !strings.Contains(err.Error(), "superctl scale admin=1 first") {
			t.Errorf("%v", err)
		}
		scaled(t, w, s, "admin", 3)
		if now := s.Status().Generation; now != before {
			t.Errorf("generation %d", now)
		}
		change1(t, s, scaleTo("admin", 1))
		want(t, s, change1(t, s, Request{Kind: Scale}), Done, "r1")
		time.Sleep(time.Minute)
		scaled(t, w, s, "web", 1)
		scaled(t, w, s, "admin", 1)
	})
}

func TestAWarmGenerationHasItsInstancesBeforeItIsLive(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"] = behaviour{}, behaviour{}
		instances := 4
		w.plan = func(p Plan) Plan {
			p.Standby = time.Hour
			p.Processes[0].Instances = instances
			return p
		}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		change := func(req Request) { t.Helper(); want(t, s, change1(t, s, req), Done, s.Status().Release) }
		switchTo(t, s, "r1")
		change(scaleTo("web", 6))
		instances = 6
		switchTo(t, s, "r2")
		change(Request{Kind: Scale}) // as it is for r2, and too many for r1
		before := s.Status().Generation
		var turns []int
		w.stopping = func(*fakeProc) { turns = append(turns, w.gate.live) }
		want(t, s, change1(t, s, Request{Kind: Rollback}), Done, "r1")
		if ps := processStatus(t, s, "web"); ps.Wanted != 4 || ps.Ready != 4 {
			t.Errorf("%+v", ps)
		}
		if len(turns) != 2 || turns[0] != before || turns[1] != before {
			t.Errorf("surplus workers stopped while generations %v were live", turns)
		}
	})
}
