package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// How patient a download is.
const (
	idleTime  = 30 * time.Second // without a byte
	tries     = 6                // in a row without a byte; each waits twice as long as the one before
	firstWait = 500 * time.Millisecond
)

// download writes a source into a file. After an error of the network it goes on where it was.
func (o *Options) download(ctx context.Context, s source, to *os.File, note func(done, all int64)) error {
	var done int64
	var tag string
	return o.retry(ctx, func(ctx context.Context) (progress bool, err error) {
		in, err := s.open(ctx, done, tag)
		if err != nil {
			return false, err
		}
		defer in.Close() //nolint:errcheck // for reading only
		if in.from != done {
			done = 0 // it has changed, or the server cannot go on in the middle
		}
		if err := errors.Join(to.Truncate(done), seek(to, done)); err != nil {
			return false, &finalError{err}
		}
		if err := o.roomFor(in.size-done, "the bundle"); err != nil {
			return false, &finalError{err}
		}
		began := done
		out := &counter{to: to, note: func(n int) { done += int64(n); note(done, in.size) }}
		_, err = io.Copy(out, in)
		if out.err != nil {
			return false, &finalError{fmt.Errorf("write %s: %w", to.Name(), out.err)}
		}
		if err == nil && in.size >= 0 && done != in.size {
			err = io.ErrUnexpectedEOF
		}
		if tag = in.tag; tag == "" && err != nil {
			progress, done = done > began, 0
			return progress, err
		}
		return done > began, err
	})
}

func seek(f *os.File, to int64) error { _, err := f.Seek(to, io.SeekStart); return err }

// counter tells how much was written, and the writer's errors from the reader's.
type counter struct {
	to   io.Writer
	note func(n int)
	err  error
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.note(n)
	c.err = err
	return n, err
}

// retry tries again after errors of the network. once gets a context that ends when nothing comes any more: everything that it
// opens must use it.
func (o *Options) retry(ctx context.Context, once func(context.Context) (progress bool, err error)) error {
	wait := o.FirstWait
	for n := 1; ; n++ {
		progress, err := once(ctx)
		var final *finalError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &final):
			return final.error
		}
		if progress {
			n, wait = 1, o.FirstWait
		}
		if n >= tries {
			return fmt.Errorf("%w (given up after %d tries)", err, tries)
		}
		o.Event(Event{Type: "progress", Step: "fetch", Detail: fmt.Sprintf("try %d of %d: %v", n+1, tries, err)})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

// watched ends its context when nothing was read for a while.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	idle  time.Duration
	ctx   context.Context //nolint:containedctx // of the request whose body this is
	end   context.CancelCauseFunc
}

// watch makes the context for a request; body makes its body one that is watched, and end must be called when there is none.
func (o *Options) watch(ctx context.Context) (w *watched) {
	w = &watched{idle: o.Idle}
	w.ctx, w.end = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(w.idle, func() { w.end(fmt.Errorf("nothing came for %s", w.idle)) })
	return w
}

func (w *watched) body(r io.ReadCloser) io.ReadCloser { w.ReadCloser = r; return w }

// Read reads, and says why when the time is over.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if n > 0 {
		w.timer.Reset(w.idle)
	}
	return n, w.explain(err)
}

func (w *watched) explain(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}

// Close ends the request.
func (w *watched) Close() error {
	err := w.ReadCloser.Close()
	w.stop()
	return err
}

func (w *watched) stop() { w.timer.Stop(); w.end(nil) }
