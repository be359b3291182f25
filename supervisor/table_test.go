package supervisor

import (
	"fmt"
	"testing"
)

var (
	instanceStates = []InstanceState{
		InstanceIdle, InstanceStarting, InstanceReady, InstanceBackoff, InstanceStopping, InstanceKilling,
		InstanceExited, InstanceFailed,
	}
	instanceEvents = []instanceEvent{
		startAsked, recalled, becameReady, startTimedOut, died, ended, backoffElapsed, stopAsked, killAsked,
		drainElapsed,
	}
	generationStates = []GenerationState{Booting, Staged, Live, Standby, Draining, Gone}
	generationEvents = []generationEvent{proved, cutOver, superseded, retired, emptied}
)

func TestEveryPairOfInstanceStateAndEventIsAnswered(t *testing.T) {
	states, events := instanceStates, instanceEvents
	if len(instanceTable) != len(states) {
		t.Errorf("the table has %d states, the test %d", len(instanceTable), len(states))
	}
	for _, st := range states {
		if len(instanceTable[st]) != len(events) {
			t.Errorf("%s: the table has %d events, the test %d", st, len(instanceTable[st]), len(events))
		}
		for _, ev := range events {
			tr, ok := instanceTable[st][ev]
			if !ok {
				t.Errorf("%s, %s: no answer", st, ev)
			}
			if _, known := instanceTable[tr.to]; !known {
				t.Errorf("%s, %s: leads to %q, which is no state", st, ev, tr.to)
			}
			if tr.to == st && tr.do == doSpawn {
				t.Errorf("%s, %s: spawns and stays", st, ev)
			}
		}
	}
}

func TestEveryPairOfGenerationStateAndEventIsAnswered(t *testing.T) {
	states, events := generationStates, generationEvents
	if len(generationTable) != len(states) {
		t.Errorf("the table has %d states, the test %d", len(generationTable), len(states))
	}
	for _, st := range states {
		if len(generationTable[st]) != len(events) {
			t.Errorf("%s: the table has %d events, the test %d", st, len(generationTable[st]), len(events))
		}
		for _, ev := range events {
			to, ok := generationTable[st][ev]
			if !ok {
				t.Errorf("%s, %s: no answer", st, ev)
			}
			if _, known := generationTable[to]; !known {
				t.Errorf("%s, %s: leads to %q, which is no state", st, ev, to)
			}
		}
	}
}

func TestAStopLeadsOutOfEveryState(t *testing.T) {
	for st := range instanceTable {
		seen := map[InstanceState]bool{}
		for at := st; at != InstanceExited; {
			if seen[at] {
				t.Fatalf("an instance that is %s and told to stop never exits", st)
			}
			seen[at] = true
			if at == InstanceStopping || at == InstanceKilling {
				at = instanceTable[at][ended].to
				continue
			}
			at = instanceTable[at][stopAsked].to
		}
	}
}

// The answers of both tables. A pair that is not listed keeps its state and does nothing.
const (
	instanceAnswers = `
idle, start asked: starting, spawn
idle, stop asked: exited, let go of what it held
idle, kill asked: exited, let go of what it held
starting, became ready: ready, note readiness
starting, start timed out: killing, kill all of it, for it did not become ready
starting, died: backoff, arm the back-off
starting, ended: failed, fail its generation
starting, stop asked: stopping, send the stop signal
starting, kill asked: killing, kill all of it
ready, died: backoff, arm the back-off
ready, ended: failed, fail its generation
ready, stop asked: stopping, send the stop signal
ready, kill asked: killing, kill all of it
backoff, back-off elapsed: starting, spawn
backoff, stop asked: exited, let go of what it held
backoff, kill asked: exited, let go of what it held
stopping, recalled: ready, send no stop signal
stopping, died: starting, spawn
stopping, ended: exited, let go of what it held
stopping, kill asked: killing, kill all of it
stopping, drain elapsed: killing, kill all of it, for its drain is over
killing, died: backoff, arm the back-off
killing, ended: exited, let go of what it held
exited, start asked: starting, spawn
failed, start asked: starting, spawn
failed, stop asked: exited, let go of what it held
failed, kill asked: exited, let go of what it held
`
	generationAnswers = `
booting, proved: staged
booting, cut over: live
booting, retired: draining
staged, cut over: live
staged, retired: draining
live, superseded: standby
live, retired: draining
standby, cut over: live
standby, retired: draining
draining, cut over: live
draining, emptied: gone
`
)

func TestEachPairOfInstanceStateAndEventHasItsAnswer(t *testing.T) {
	got := "\n"
	for _, st := range instanceStates {
		for _, ev := range instanceEvents {
			if tr := instanceTable[st][ev]; tr != (instanceTransition{st, doNothing}) {
				got += fmt.Sprintf("%s, %s: %s, %s\n", st, ev, tr.to, tr.do)
			}
		}
	}
	if got != instanceAnswers {
		t.Errorf("the table answers:%s", got)
	}
}

func TestEachPairOfGenerationStateAndEventHasItsAnswer(t *testing.T) {
	got := "\n"
	for _, st := range generationStates {
		for _, ev := range generationEvents {
			if to := generationTable[st][ev]; to != st {
				got += fmt.Sprintf("%s, %s: %s\n", st, ev, to)
			}
		}
	}
	if got != generationAnswers {
		t.Errorf("the table answers:%s", got)
	}
}
