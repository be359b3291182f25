package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"superctl/plain"
)

const (
	bookBytes  = 4 << 20 // of lines are kept for `logs`
	sinkQueue  = 4096    // lines that wait for a sink that is slower than the workers
	followSize = 1024    // lines that wait for a client of `logs -f`
)

// logbook keeps the newest lines of all workers, and passes each on. A reader or sink that is too
// slow loses lines, and is told how many; a worker never waits for it.
type logbook struct {
	mu      sync.Mutex
	lines   []LogLine // oldest first
	bytes   int
	follows map[*follow]struct{}
	closed  bool

	queue   chan LogLine
	dropped int
	drained chan struct{}
}

type follow struct {
	query   LogQuery
	lines   chan LogLine
	dropped int
}

func newLogbook(sink func(LogLine)) *logbook {
	b := &logbook{follows: make(map[*follow]struct{}), drained: make(chan struct{})}
	if sink == nil {
		close(b.drained)
		return b
	}
	b.queue = make(chan LogLine, sinkQueue)
	go func() {
		defer close(b.drained)
		for l := range b.queue {
			sink(l)
		}
	}()
	return b
}

// bookEnd is how long the end of the daemon waits for a sink.
const bookEnd = 2 * time.Second

// close passes on what is queued and ends. For a sink that takes nothing it does not wait long.
func (b *logbook) close() {
	b.mu.Lock()
	b.closed = true
	if b.queue != nil {
		close(b.queue)
	}
	for f := range b.follows {
		close(f.lines)
	}
	clear(b.follows)
	b.mu.Unlock()
	select {
	case <-b.drained:
	case <-time.After(bookEnd):
	}
}

func (b *logbook) add(l LogLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.lines = append(b.lines, l)
	b.bytes += sizeOf(l)
	gone := 0
	for b.bytes > bookBytes {
		b.bytes -= sizeOf(b.lines[gone])
		gone++
	}
	clear(b.lines[:gone])
	b.lines = b.lines[gone:]
	for f := range b.follows {
		if matches(f.query, l) {
			f.dropped = offer(f.lines, l, f.dropped)
		}
	}
	if b.queue != nil {
		b.dropped = offer(b.queue, l, b.dropped)
	}
}

// offer hands a line over if there is room, and before it the news of those that found none. It
// returns how many lines are lost and not yet told.
func offer(to chan<- LogLine, l LogLine, dropped int) int {
	if dropped > 0 {
		gap := LogLine{
			Time: l.Time, Release: l.Release, Generation: l.Generation, Process: "superctl",
			Text: fmt.Sprintf("%s lost here: they came faster than they could be passed on", plain.Count(dropped, "line was", "lines were")),
		}
		select {
		case to <- gap:
			dropped = 0
		default:
			return dropped + 1
		}
	}
	select {
	case to <- l:
		return 0
	default:
		return dropped + 1
	}
}

// sizeOf is about what a line takes in memory: its text and the fixed fields.
func sizeOf(l LogLine) int { return len(l.Text) + 128 }

func matches(q LogQuery, l LogLine) bool {
	return (q.Process == "" || q.Process == l.Process) && (q.Release == "" || q.Release == l.Release)
}

// Logs gives the newest lines that match, oldest first, and with Follow every line after them until
// ctx ends.
func (s *Supervisor) Logs(ctx context.Context, q LogQuery, emit func(LogLine) error) error {
	past, f := s.book.open(q)
	if f != nil {
		defer s.book.unfollow(f)
	}
	for _, l := range past {
		if err := emit(l); err != nil {
			return err
		}
	}
	if f == nil {
		return nil
	}
	for {
		select {
		case l, more := <-f.lines:
			if !more {
				return nil
			}
			if err := emit(l); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *logbook) open(q LogQuery) ([]LogLine, *follow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var past []LogLine
	for i := len(b.lines) - 1; i >= 0 && len(past) < q.Lines; i-- {
		if l := b.lines[i]; matches(q, l) {
			past = append(past, l)
		}
	}
	slices.Reverse(past)
	if !q.Follow || b.closed {
		return past, nil
	}
	f := &follow{query: q, lines: make(chan LogLine, followSize)}
	b.follows[f] = struct{}{}
	return past, f
}

func (b *logbook) unfollow(f *follow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.follows, f)
}
