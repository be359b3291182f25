package harness

import (
	"bytes"
	"sync"
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
