package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// readerTime is how long a change waits for the reader of its output. It goes on without one: what
// is missing is in the history.
const readerTime = time.Minute

var errNobodyReads = errors.New("nobody reads the output")

// patientWriter writes to a pipe that its reader may have forgotten: after limit it gives up for
// good.
type patientWriter struct {
	w     io.Writer
	limit time.Duration

	mu    sync.Mutex
	stuck bool
}

// Write waits for the reader, but not for ever.
func (p *patientWriter) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stuck {
		return 0, errNobodyReads
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
		p.stuck = true
		return 0, errNobodyReads
	}
}

func (p *patientWriter) gaveUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck
}

// patient returns the command with outputs that nothing can hold up for good, and what is to be
// called at its end: it says so if an output was given up, on the other one.
func (c *command) patient() (*command, func()) {
	stdout, out := patiently(c.stdout)
	stderr, errs := patiently(c.stderr)
	own := *c
	own.stdout, own.stderr = stdout, stderr
	return &own, func() {
		const told = "superctl: nobody reads %s, so it was given up after %s; superctl history show has the outcome\n"
		switch {
		case out != nil && out.gaveUp():
			fmt.Fprintf(stderr, told, "stdout", readerTime)
		case errs != nil && errs.gaveUp():
			fmt.Fprintf(stdout, told, "stderr", readerTime)
		}
	}
}

// patiently wraps a pipe or a socket; a terminal and a file have no reader that could be forgotten.
func patiently(w io.Writer) (io.Writer, *patientWriter) {
	f, ok := raw(w).(*os.File)
	if !ok {
		return w, nil
	}
	if st, err := f.Stat(); err != nil || st.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return w, nil
	}
	p := &patientWriter{w: f, limit: readerTime}
	return &screen{p}, p
}
