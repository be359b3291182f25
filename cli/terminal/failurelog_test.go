package terminal

import (
	"slices"
	"testing"
)

func TestATracebackOfSeveralWorkersIsShownOnce(t *testing.T) {
	trace := []string{
		"Traceback (most recent call last):", `  File "shop/wsgi.py", line 3, in <module>`, "    import payments",
		"ModuleNotFoundError: payments",
	}
	in := slices.Concat(
		[]string{"[812] Booting worker"}, trace, []string{"[813] Booting worker"}, trace,
		[]string{"[814] Booting worker"}, trace, []string{"Shutting down"},
	)
	want := slices.Concat([]string{"[812] Booting worker"}, trace, []string{
		"... 10 lines as above", "Shutting down",
	})
	if got := withoutRepeats(in); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := withoutRepeats(in[:len(in)-1]); !slices.Equal(got, want[:len(want)-1]) {
		t.Errorf("at the end: got %q", got)
	}
	short := []string{"a", "b", "c", "a", "b", "c"}
	if got := withoutRepeats(short); !slices.Equal(got, short) {
		t.Errorf("three repeated lines are shown as %q", got)
	}
}
