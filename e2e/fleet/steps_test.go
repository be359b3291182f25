package fleet

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// step is a step of a run, and the message that begins it.
type step struct {
	name   string
	deploy bool // of a deploy: a switch does not have it
	told   bool // the first word to cut over has been said
	begins message
}

// steps returns all steps of a run. The canary host is web1.
func steps() []step {
	return []step{
		{"reach", false, false, message{"web2", begun, " status "}},
		{"lease", false, false, message{"web2", begun, " lock "}},
		{"ship", true, false, message{"web2", begun, "tar -xf"}},
		{"install", true, false, message{"web2", sent, ""}},
		{"before hook", false, false, message{"web1", line, `"step":"before"`}},
		{"prepare", false, false, message{"web2", begun, " --follower"}},
		{"ready", false, false, message{"web2", line, `"ready":true`}},
		{"word to the canary host", false, true, message{"web1", word, "go"}},
		{"probation of the canary host", false, true, message{"web1", line, `"step":"probation"`}},
		{"words to the others", false, true, message{"web2", word, "go"}},
		{"probation of the others", false, true, message{"web2", line, `"step":"probation"`}},
		{"after hook", false, true, message{"web2", line, `"step":"after"`}},
		{"prune", true, true, message{"web2", begun, " prune "}},
	}
}

// everyStepVar = all has both faults at each step: the operator is killed there, and a cable is cut. By default one of
// both happens at each, in turn, and the random runs have all of them at any message.
const everyStepVar = "SUPERCTL_E2E_POINTS"

// atSteps calls test for the steps of one fault of two: the first one has the first step, the second one the next.
func atSteps(t *testing.T, fault int, test func(t *testing.T, s step, end string)) {
	t.Helper()
	for i, s := range steps() {
		if i%2 != fault && os.Getenv(everyStepVar) != "all" {
			continue
		}
		t.Run(s.name, func(t *testing.T) { test(t, s, []string{"finish", "back"}[i/2%2]) })
	}
}

// interrupt runs a change, and calls fault when the step begins, while the message waits. The client
// has not ended when it returns.
func (s step) interrupt(t *testing.T, o *operator, fault func(*Command)) *Command {
	t.Helper()
	reached, resume := make(chan struct{}), make(chan struct{})
	var once, again sync.Once
	resumed := func() { again.Do(func() { close(resume) }) }
	t.Cleanup(resumed)
	o.see(func(m message) {
		if m.Host == s.begins.Host && m.Kind == s.begins.Kind && strings.Contains(m.Text, s.begins.Text) {
			once.Do(func() {
				close(reached)
				<-resume
			})
		}
	})
	args := []string{"switch", "2"}
	if s.deploy {
		args = []string{"deploy", Bundle(t, run, o.dir, "4")}
	}
	c := o.superctl(args...)
	select {
	case <-reached:
	case <-c.done:
		t.Fatalf("it ended with %d before the step:\n%s", c.Code, c.Text())
	}
	fault(c)
	resumed()
	return c
}

// TestAnOperatorKilledAtAnyStepIsOvercome kills the operator at each step. Before the first word all
// hosts abort; after it all have turned, or status names the mix and finish or back ends it.
func TestAnOperatorKilledAtAnyStepIsOvercome(t *testing.T) {
	atSteps(t, 1, func(t *testing.T, s step, end string) {
		o := newOperator(t)
		var began time.Time
		s.interrupt(t, o, func(c *Command) {
			c.Kill()
			began = time.Now()
		})
		o.f.idle(t)
		t.Logf("over after %s, with %s", time.Since(began).Round(time.Millisecond), o.f.Live(t))
		if !s.told {
			o.f.wantGeneration(t, 1)
		}
		o.endMix(end)
	})
}

// TestACableCutAtAnyStepIsOvercome cuts the cable of a host at each step. Before the first word all
// hosts abort, the one behind the cable too; after it what the client says is what the hosts run.
func TestACableCutAtAnyStepIsOvercome(t *testing.T) {
	atSteps(t, 0, func(t *testing.T, s step, end string) {
		o := newOperator(t)
		cut := o.f.Hosts[s.begins.Host[3]-'1']
		var began time.Time
		c := s.interrupt(t, o, func(*Command) {
			cut.Cut(t)
			began = time.Now()
		})
		if c.Ended(); c.Code == 0 && !s.told {
			t.Errorf("it succeeded without %s:\n%s", cut.Name, c.Text())
		}
		ended := time.Since(began).Round(time.Millisecond)
		o.f.idle(t) // behind the cable, too
		t.Logf("the client ended with %d after %s, and over after %s, with %s", c.Code, ended,
			time.Since(began).Round(time.Millisecond), o.f.Live(t))
		if !s.told {
			o.f.wantGeneration(t, 1)
		}
		o.superctl("status").Want(3)
		cut.Mend(t)
		o.endMix(end)
	})
}

// endMix fails the test unless status tells whether the hosts run one release, and ends a mix.
func (o *operator) endMix(how string) {
	o.t.Helper()
	o.see(func(message) {})
	live := o.f.Live(o.t)
	if live == "1 1 1" || !strings.Contains(live, "1") {
		o.superctl("status").Want(0)
		return
	}
	told := o.superctl("status").Want(6)
	releases := strings.Fields(live)
	for i, h := range o.f.Hosts {
		told.Says(h.Name).Says(releases[i])
	}
	o.superctl(how).Want(0)
	want := map[string]string{"back": "1", "finish": strings.Trim(live, "1 ")[:1]}[how]
	o.f.wantLive(o.t, fmt.Sprintf("%[1]s %[1]s %[1]s", want))
}
