package worker

import (
	"slices"
	"strings"
	"sync"
)

const (
	tailLine   = 2000 // bytes of a line that a Tail keeps
	traceLines = 20   // the most lines of a traceback that it keeps
)

// Tail keeps the last lines that were added, and the last traceback of Python among all that were.
type Tail struct {
	mu    sync.Mutex
	lines []string
	keep  int
	trace []string // the last complete one
	open  []string // the one that is being added
}

// NewTail makes one that keeps so many lines.
func NewTail(keep int) *Tail { return &Tail{keep: keep} }

// Add adds a line.
func (t *Tail) Add(line []byte) {
	text := strings.ToValidUTF8(string(line[:min(len(line), tailLine)]), "\uFFFD")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = last(t.keep, append(t.lines, text))
	t.traced(text)
}

// traced adds a line to the traceback that it belongs to.
func (t *Tail) traced(line string) {
	switch {
	case strings.HasPrefix(line, "Traceback (most recent call last)"):
		t.open = []string{line}
	case t.open == nil:
	case line == "" || line[0] == ' ':
		t.open = last(traceLines, append(t.open, line))
	default: // the exception itself
		t.trace, t.open = last(traceLines, append(t.open, line)), nil
	}
}

// last drops all lines but the last ones.
func last(keep int, lines []string) []string {
	return slices.Delete(lines, 0, max(len(lines)-keep, 0))
}

// Lines are the lines that are kept, oldest first.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

// Traceback is the end of the last complete traceback; nil if there was none. The lines that came
// after it, such as those of many health checks, do not push it out.
func (t *Tail) Traceback() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.trace)
}
