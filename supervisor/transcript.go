package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"superctl/plain"
)

// What is kept and shown of the output of a step's commands, however much that is.
const (
	outputLine  = 2000     // bytes of a line
	outputKept  = 100      // lines in the history, the last ones
	outputBytes = 32 << 10 // of them together
	outputBurst = 1000     // lines that the client gets as fast as they come
	outputRate  = 100      // and lines a second, where there are more
	outputLast  = 20       // the client gets the last ones in any case
)

// transcript is what the commands of one step write. The client sees it as it comes, as long as it
// can follow; the last lines are kept for the history.
type transcript struct {
	step   string
	show   func(Event) bool // false: the client does not follow
	clean  func(string) string
	kept   []string
	bytes  int
	lost   int // lines before those that are kept
	hidden int // lines that the client has not got since the last one that it has
	budget float64
	filled time.Time // when budget was reckoned
}

func newTranscript(step string, show func(Event) bool, clean func(string) string) *transcript {
	return &transcript{step: step, show: show, clean: clean, budget: outputBurst, filled: time.Now()}
}

// add adds a line.
func (t *transcript) add(line string) {
	line = t.clean(line)
	line = strings.ToValidUTF8(line[:min(len(line), outputLine)], "\uFFFD")
	t.keep(line)
	now := time.Now()
	t.budget = min(outputBurst, t.budget+outputRate*now.Sub(t.filled).Seconds())
	t.filled = now
	// Once something is left out, a second's worth goes together: not one line, a note, and one
	// line.
	if t.hidden > 0 && t.budget >= outputRate && t.note(t.hidden) {
		t.hidden = 0
	}
	if t.hidden > 0 || t.budget < 1 || !t.tell(line) {
		t.hidden++
		return
	}
	t.budget--
}

func (t *transcript) tell(line string) bool {
	return t.show(Event{Type: "output", Step: t.step, Detail: line})
}

func (t *transcript) note(n int) bool {
	return t.tell(fmt.Sprintf("... %s left out here", plain.Count(n, "line is", "lines are")))
}

func (t *transcript) keep(line string) {
	t.kept = append(t.kept, line)
	t.bytes += len(line)
	over := 0
	for ; len(t.kept)-over > outputKept || t.bytes > outputBytes; over++ {
		t.bytes -= len(t.kept[over])
	}
	t.lost += over
	t.kept = slices.Delete(t.kept, 0, over)
}

// end shows the last lines, and returns what is kept.
func (t *transcript) end() []string {
	if last := min(t.hidden, outputLast, len(t.kept)); t.hidden > 0 {
		if t.hidden > last {
			t.note(t.hidden - last)
		}
		for _, line := range t.kept[len(t.kept)-last:] {
			t.tell(line)
		}
		t.hidden = 0
	}
	if t.lost > 0 {
		return append([]string{fmt.Sprintf("... %s left out", plain.Count(t.lost, "line before these is", "lines before these are"))}, t.kept...)
	}
	return t.kept
}
