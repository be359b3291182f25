package daemon

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// stalled is an output whose writes block until released is closed.
type stalled struct {
	released chan struct{}
	mu       sync.Mutex
	got      bytes.Buffer
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.released
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

func TestLoggingToAStalledOutputNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stalled{released: make(chan struct{})}
		l, err := openLogs("shop", "", out)
		if err != nil {
			t.Fatal(err)
		}
		for i := range logQueue + 100 {
			if _, err := fmt.Fprintf(l, "line %d\n", i); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		close(out.released)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text := out.got.String()
		lines := strings.Count(text, "line ")
		if !strings.Contains(text, fmt.Sprintf("\n%d log lines were dropped", logQueue+100-lines)) {
			t.Errorf("%d lines are written, and the report of the others is %q", lines, text[:min(200, len(text))])
		}
	})
}

func TestAStalledOutputDoesNotDelayTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stalled{released: make(chan struct{})}
		l, err := openLogs("shop", "", out)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(l, "the last words")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		close(out.released)
	})
}
