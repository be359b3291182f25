package supervisor

import (
	"errors"
	"reflect"
	"testing"
)

// withOnce has a migration that runs once in a run, beside hooks of every host.
func withOnce(h *Hooks) {
	h.Before, h.After = [][]string{{"migrate"}, {"before"}}, [][]string{{"announce"}}
	h.Once = map[string][]int{stepBefore: {0}, stepAfter: {0}}
}

func TestAFollowerLeavesOutTheHooksThatRunOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := newHooked(w)
		h.forget = withOnce
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		change1(t, s, Request{Kind: Switch, Release: "r1", Follower: true, Origin: Origin{Run: "mine"}})
		h.wants(t, "before in /r/r1")
		change1(t, s, Request{Kind: Switch, Release: "r2", Origin: Origin{Run: "mine"}})
		h.wants(t, "migrate in /r/r2", "before in /r/r2", "announce in /r/r2")
		var no *RefusedError
		for _, req := range []Request{
			{Kind: Switch, Release: "r1", Follower: true},
			{Kind: Restart, Process: "web", Follower: true, Origin: Origin{Run: "mine"}},
		} {
			if _, err := s.Change(t.Context(), req, func(Event) {}); !errors.As(err, &no) || !no.Usage {
				t.Errorf("%+v: %v", req, err)
			}
		}
	})
}

func TestTheMigrationsOfAFollowerAreHeldAgainstWhatItRuns(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		newHooked(w).forget = withOnce
		in := newInspector(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		change1(t, s, Request{Kind: Switch, Release: "r1", Follower: true, Origin: Origin{Run: "mine"}})
		if i := in.asked[0]; !i.Before || !reflect.DeepEqual(i.LeftOut, [][]string{{"migrate"}}) {
			t.Errorf("a follower: %+v", i)
		}
		switchTo(t, s, "r2")
		if i := in.asked[1]; !i.Before || i.LeftOut != nil {
			t.Errorf("alone: %+v", i)
		}
	})
}
