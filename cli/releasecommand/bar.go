//go:build linux

package releasecommand

import (
	"strings"

	"superctl/api"
	"superctl/cli/console"
	"superctl/releases/build"
)

// barWidth is the width of a progress bar in columns. It leaves room for text after the bar.
const barWidth = 20

// bar returns a progress bar such as [########------------].
func bar(done, total int64) string {
	n := 0
	if total > 0 {
		n = int(min(max(done, 0), total) * barWidth / total)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", barWidth-n) + "]"
}

// ShowBuild returns a function that shows the events of a build like those of a change. A terminal
// also gets a progress bar.
func ShowBuild(p *console.Progress) func(build.Event) {
	return func(ev build.Event) {
		if ev.Type != "progress" || ev.Total == 0 {
			p.Event(api.Event{Type: ev.Type, Step: ev.Step, Detail: ev.Detail, Seconds: ev.Seconds})
			return
		}
		// A build sends thousands of these. Only tick draws them, on a terminal: anywhere else each
		// would be a line of its own.
		p.Annotate(bar(ev.Done, ev.Total) + " " + ev.Detail)
	}
}
