package worker

import (
	"os"
	"sync"
	"testing"

	"superctl/proc"
)

func TestALookSeesWhatWasStartedBeforeItWasAskedFor(t *testing.T) {
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			w, err := Start(t.Context(), Spec{Command: []string{"/bin/sleep", "1000"}, Dir: "/", Mark: "look"})
			if err != nil {
				t.Error(err)
				return
			}
			seen, err := lookAround()
			if err != nil {
				t.Error(err)
			}
			if list := seen.relatives(w.root()); len(list) != 1 || list[0].PID != w.PID() ||
				seen.tags[w.PID()] != w.Tag() {
				t.Errorf("%v of %d", list, w.PID())
			}
			if err := w.KillAll(); err != nil {
				t.Error(err)
			}
			<-w.Done()
		})
	}
	all.Wait()
}

func TestNobodyIsARelativeByHavingNoTag(t *testing.T) {
	seen := scan{all: []proc.Stat{{PID: os.Getpid() + 1, Group: 7, State: 'S'}}}
	if list := seen.relatives(root{pid: -1}); len(list) > 0 {
		t.Errorf("%v", list)
	}
}

func TestATagThatWasSeenIsRememberedForTheSameProcess(t *testing.T) {
	self, err := proc.ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start, remembered := range map[uint64]bool{self.Start: true, self.Start + 1: false} {
		seen, tagged, err := newScan(map[int]carrier{self.PID: {start, "seen before"}, 1 << 30: {1, "ended"}})
		if err != nil {
			t.Fatal(err)
		}
		_, again := tagged[self.PID]
		if got := seen.tags[self.PID]; (got == "seen before") != remembered || again != remembered {
			t.Errorf("started at %d: the tag is %q", start, got)
		}
		if _, ok := tagged[1<<30]; ok {
			t.Error("a process that has ended is remembered")
		}
	}
}
