package worker

import (
	"slices"
	"strings"
	"sync"
)

// tailLine is how much of a line a Tail keeps.
const tailLine = 2000

// Tail keeps the last lines that were added.
type Tail struct {
	mu    sync.Mutex
	lines []string
	keep  int
}

// NewTail makes one that keeps so many lines.
func NewTail(keep int) *Tail { return &Tail{keep: keep} }

// Add adds a line.
func (t *Tail) Add(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, strings.ToValidUTF8(string(line[:min(len(line), tailLine)]), "\uFFFD"))
	if len(t.lines) > t.keep {
		t.lines = slices.Delete(t.lines, 0, len(t.lines)-t.keep)
	}
}

// Lines are the lines that are kept, oldest first.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}
