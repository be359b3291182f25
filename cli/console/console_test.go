//go:build linux

package console

import (
	"errors"
	"testing"

	"superctl/api"
)

func TestAnOutputThatCannotBeWrittenDoesNotHideWhatWasDone(t *testing.T) {
	full := errors.New("no space left on device")
	for _, c := range []struct {
		out    api.Outcome
		dryRun bool
		want   string
	}{
		{api.Outcome{Kind: "switch", Changed: true}, false, "the switch is done"},
		{api.Outcome{Kind: "reload", Changed: true}, true, "nothing was changed, as asked"},
		{api.Outcome{Kind: "switch"}, false, "there was nothing to do for the switch"},
	} {
		err := &UnwrittenError{Done: DoneOf(&c.out, c.dryRun), Err: full}
		if want := c.want + ", but the output could not be written: no space left on device"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	if err := (&UnwrittenError{Err: full}); err.Error() != "the output could not be written: no space left on device" {
		t.Errorf("%q", err)
	}
}
