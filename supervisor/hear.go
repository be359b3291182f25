package supervisor

import (
	"maps"
	"slices"
	"sync"

	"superctl/supervisor/worker"
)

// mostUnheard is how many senders may have spoken before the owner listens: a bound for memory.
const mostMessages = 4096

// messageQueue is what workers have said and the owner has not heard yet. It takes every message at
// once, so that the socket's short queue (net.unix.max_dgram_qlen, 10 by default) is empty however
// busy the owner is: a sender that does not wait would lose its READY=1 because others speak. Of
// what one process says of the same thing the newest counts.
type messageQueue struct {
	mu    sync.Mutex
	said  []worker.Message // one of each sender
	news  chan struct{}    // of capacity 1: there is something to take
	taken chan struct{}    // of capacity 1: there is room
}

func newMessageQueue() *messageQueue {
	return &messageQueue{news: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// add keeps a message for the owner. It waits only when too many have spoken, and not after done.
func (h *messageQueue) add(m worker.Message, done <-chan struct{}) {
	for !h.keep(m) {
		select {
		case <-h.taken:
		case <-done:
			return
		}
	}
	signal(h.news)
}

func (h *messageQueue) keep(m worker.Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.said, func(o worker.Message) bool {
		return o.PID == m.PID && slices.Equal(o.Lineage, m.Lineage)
	})
	switch {
	case i >= 0:
		maps.Copy(h.said[i].Fields, m.Fields)
	case len(h.said) == mostMessages:
		return false
	default:
		h.said = append(h.said, m)
	}
	return true
}

// take returns what was said since it was called last.
func (h *messageQueue) take() []worker.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	said := h.said
	h.said = nil
	select {
	case <-h.news: // it is taken now
	default:
	}
	signal(h.taken)
	return said
}

// signal wakes the reader of a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
