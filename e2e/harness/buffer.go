package harness

import (
	"bytes"
	"sync"
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
