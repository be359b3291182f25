package daemon

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// stuck is an output that takes nothing until it is let go.
type stuck struct {
	let chan struct{}
	mu  sync.Mutex
	got bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

func TestNobodyWaitsForAnOutputThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{let: make(chan struct{})}
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
		close(out.let)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text := out.got.String()
		lines := strings.Count(text, "line ")
		if !strings.Contains(text, fmt.Sprintf("\n%d lines of the log were lost", logQueue+100-lines)) {
			t.Errorf("%d lines are written, and of the rest is said: %q", lines, text[:min(200, len(text))])
		}
	})
}

func TestTheEndDoesNotWaitForAnOutputThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{let: make(chan struct{})}
		l, err := openLogs("shop", "", out)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(l, "the last words")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		close(out.let)
	})
}
