package harness

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// syncBuffer collects the output of a process while tests read it.
type syncBuffer struct {
	mu      sync.Mutex
	content bytes.Buffer
	more    chan struct{}
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.content.Write(p)
}

// String returns the output so far.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// grown returns a channel that is closed at the next write.
func (b *syncBuffer) grown() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return b.more
}

// await waits until the process has written text. It reports whether that happened before the
// process ended and within patience.
func (b *syncBuffer) await(text string, exited <-chan struct{}) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		grown := b.grown()
		if strings.Contains(b.String(), text) {
			return true
		}
		select {
		case <-grown:
		case <-exited:
			return false
		case <-late.C:
			return false
		}
	}
}
