package plain

import (
	"testing"
	"time"
)

func TestADurationIsReadAsPeopleSayIt(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 100 * time.Millisecond: "100 ms", 12*time.Second + 300*time.Millisecond: "12 s", 5 * time.Minute: "5 min", 90 * time.Second: "1 min 30 s",
		10 * time.Minute: "10 min", time.Hour: "1 h", 90 * time.Minute: "1 h 30 min", time.Hour + time.Second: "1 h 0 min 1 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
