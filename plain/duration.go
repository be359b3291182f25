package plain

import (
	"fmt"
	"strings"
	"time"
)

// Duration formats a duration for people, such as 5 min or 1 h 30 min: in whole seconds, and below one
// in whole milliseconds.
func Duration(d time.Duration) string {
	if 0 < d && d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	text := d.Round(time.Second).String() // such as 1h30m0s
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return strings.TrimSpace(strings.NewReplacer("h", " h ", "m", " min ", "s", " s").Replace(text))
}
