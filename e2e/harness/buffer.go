package harness

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// syncBuffer is what a process writes while others look at it.
type syncBuffer struct {
	mu      sync.Mutex
	content bytes.Buffer
	more    chan struct{}
}

// Write takes what the process wrote.
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.content.Write(p)
}

// String is all of it until now.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// grown is closed at the next write.
func (b *syncBuffer) grown() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return b.more
}

// await waits until the process has written text. It says whether it did, before it ended and in time.
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
