package cli

import (
	"strings"

	"superctl/api"
	"superctl/releases/build"
)

// barWidth is the room for a bar, which leaves some for the text behind it.
const barWidth = 20

// bar draws how much is done, such as [########------------].
func bar(done, total int64) string {
	n := 0
	if total > 0 {
		n = int(min(max(done, 0), total) * barWidth / total)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", barWidth-n) + "]"
}

// build shows an event of a build: as those of a change are shown, with a bar where there is a
// terminal for it.
func (p *progress) build(ev build.Event) {
	if ev.Type != "progress" || ev.Total == 0 {
		p.event(api.Event{Type: ev.Type, Step: ev.Step, Detail: ev.Detail, Seconds: ev.Seconds})
		return
	}
	// There may be thousands of them: a terminal gets as many as tick draws, and elsewhere, where
	// each would stay, there is none.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = bar(ev.Done, ev.Total) + " " + ev.Detail
}
