package supervisor

import "testing"

// A stop of the service runs `superctl end` after its daemon, which has left nothing.
func TestAnEndThatFindsNothingEnds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		switchTo(t, s, "r1")
		stop()
		w.options = func(o *Options) { o.End = true }
		_, stop = w.starting(dir)
		stop()
	})
}

func TestADaemonWithoutALiveReleaseEnds(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		_, stop := w.supervisor(t.TempDir())
		stop()
	})
}
