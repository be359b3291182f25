package supervisor

import "testing"

func TestEveryPairOfInstanceStateAndEventIsAnswered(t *testing.T) {
	states := []InstanceState{
		InstanceIdle, InstanceStarting, InstanceReady, InstanceBackoff, InstanceStopping, InstanceKilling,
		InstanceExited, InstanceFailed,
	}
	events := []instanceEvent{
		startAsked, recalled, becameReady, startTimedOut, died, ended, backoffElapsed, stopAsked, killAsked,
		drainElapsed,
	}
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
	states := []GenerationState{Booting, Staged, Live, Standby, Draining, Gone}
	events := []generationEvent{proved, cutOver, superseded, retired, emptied}
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
