//go:build linux

package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"superctl/cli/terminal"
)

// readerTime is how long a change waits for a stalled reader of its output. After that it continues
// without output; the history has the outcome.
const readerTime = time.Minute

var errStalled = errors.New("the reader of the output has stalled")

// timeoutWriter writes to a pipe whose reader may have stalled. After a write has waited for limit,
// it and all later writes fail.
type timeoutWriter struct {
	w     io.Writer
	limit time.Duration

	mu      sync.Mutex
	stalled bool
}

// Write waits for the reader, at most for limit.
func (p *timeoutWriter) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled {
		return 0, errStalled
	}
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1) // the goroutine ends with the write, or with the process
	go func() {
		n, err := p.w.Write(slices.Clone(data))
		written <- result{n, err}
	}()
	late := time.NewTimer(p.limit)
	defer late.Stop()
	select {
	case r := <-written:
		return r.n, r.err
	case <-late.C:
		p.stalled = true
		return 0, errStalled
	}
}

func (p *timeoutWriter) hasStalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stalled
}

// WithWriteTimeouts returns a copy of the console whose writes to pipes and sockets time out, and a
// function to call at its end. If one output has stalled, this function reports it on the other.
func (c *Console) WithWriteTimeouts() (*Console, func()) {
	stdout, out := withTimeout(c.Stdout)
	stderr, errs := withTimeout(c.Stderr)
	own := *c
	own.Stdout, own.Stderr = stdout, stderr
	return &own, func() {
		const text = "superctl: the reader of %s has stalled for %s, so output is missing; " +
			"superctl history show has the outcome\n"
		switch {
		case out != nil && out.hasStalled():
			fmt.Fprintf(stderr, text, "stdout", readerTime)
		case errs != nil && errs.hasStalled():
			fmt.Fprintf(stdout, text, "stderr", readerTime)
		}
	}
}

// withTimeout wraps a pipe or a socket. Terminals and files have no reader that can stall.
func withTimeout(w io.Writer) (io.Writer, *timeoutWriter) {
	f, ok := terminal.Raw(w).(*os.File)
	if !ok {
		return w, nil
	}
	if st, err := f.Stat(); err != nil || st.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return w, nil
	}
	p := &timeoutWriter{w: f, limit: readerTime}
	return terminal.Through(w, p), p
}
