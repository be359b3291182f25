package site

import (
	"io"
	"testing"

	"superctl/e2e/harness"
)

// uWSGI cuts an answer when a signal arrives while it waits for a slow client ("OSError: write
// error", 2.0.31), so superctl must not send a signal then.
func TestAStopOfUWSGIDoesNotCutASlowClient(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Server: harness.UWSGIHTTP().Bare(), Front: harness.Unix})
	a.Releases("r1", "r2")
	a.Start("r1")
	answer := connect(t, a, "/stream", "")
	a.Command("switch", "r2").Want(0)
	harness.Eventually(t, "the old workers are being stopped", func() bool { return stopping(a.Status(), "r1") })
	if n, err := io.Copy(io.Discard, answer.in); n != 2<<20 || err != nil {
		t.Errorf("%d bytes came: %v", n, err)
	}
	harness.Eventually(t, "the old generation is gone", func() bool { return len(a.Status().Generations) == 1 })
}
