package terminal

import (
	"testing"
	"time"
)

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

func TestTheWidthOfATextIsThatOnATerminal(t *testing.T) {
	for text, want := range map[string]int{
		"r1": 2, "größe": 5, "gro\u0308ße": 5, "日本語": 6, "リリース-1": 10, "🚀": 2, "ｗｉｄｅ": 8, mark + "31m日本" + mark + "0m": 4,
	} {
		if got := Width(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for columns, want := range map[int]string{6: "日本語", 5: "日...", 4: "...", 3: "..."} {
		if got := Cut("日本語", columns); got != want {
			t.Errorf("in %d columns: %q, want %q", columns, got, want)
		}
	}
	if got, want := shortened("日本語のリリース", 9), "日本\u2026ース"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAnAgeIsNotInventedAfterTheClockWasSetBack(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for then, want := range map[time.Duration]string{
		-5 * time.Minute: "5 min ago", 0: "just now", 30 * time.Second: "just now", 5 * time.Hour: "in the future",
	} {
		if got := Age(now, now.Add(then)); got != want {
			t.Errorf("%s: %s", then, got)
		}
	}
}
