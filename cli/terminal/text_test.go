package terminal

import "testing"

func TestALengthOfTimeIsInTheUnitThatAPersonWouldUse(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0 ms", 0.0482: "48 ms", 0.9994: "999 ms", 0.9996: "1.0 s", 2.54: "2.5 s",
		59.94: "59.9 s", 59.96: "1 min", 61: "1 min 1 s", 3600: "1 h", 5400.4: "1 h 30 min",
	} {
		if got := Seconds(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
}
