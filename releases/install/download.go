package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Limits and intervals of a download.
const (
	idleTime  = 30 * time.Second // longest time without a byte
	fetchTime = time.Hour        // limit for the whole download
	tries     = 6                // in a row without progress, each after twice the wait of the one before
	firstWait = 500 * time.Millisecond
	// progressBytes is how much a try must add to the largest earlier one to count as progress, so
	// that a server that sends one byte per answer does not.
	progressBytes = 64 << 10
)

// download writes a source into a file. After a network error it resumes where it stopped.
func (o *Options) download(ctx context.Context, s source, to *os.File, note func(done, all int64)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.FetchTime, fmt.Errorf("not fetched within %s", o.FetchTime))
	defer cancel()
	d := &transfer{o: o, to: to, note: note}
	return o.retry(ctx, func(ctx context.Context) (bool, error) {
		err := d.try(ctx, s)
		progress := d.done >= d.most+progressBytes
		if d.most = max(d.most, d.done); d.tag == "" {
			d.done = 0 // the source cannot be resumed
		}
		return progress, err
	})
}

// transfer is a download in progress.
type transfer struct {
	o    *Options
	to   *os.File
	note func(done, all int64)
	done int64  // bytes in the file
	most int64  // the most bytes that any try had
	tag  string // version of the file's content
	all  int64  // total size; -1 = unknown
}

// try fetches the missing part.
func (d *transfer) try(ctx context.Context, s source) error {
	in, err := s.open(ctx, d.done, d.tag)
	if err != nil {
		return err
	}
	defer in.Close()
	d.tag, d.all = in.tag, in.size
	if in.from != d.done {
		d.done = 0 // the file changed, or the server cannot resume
	}
	if err := errors.Join(d.to.Truncate(d.done), seek(d.to, d.done)); err != nil {
		return &finalError{err}
	}
	if err := d.o.roomFor(in.size-d.done, "the bundle"); err != nil {
		return &finalError{err}
	}
	_, err = io.Copy(d, in)
	if err == nil && in.size >= 0 && d.done != in.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && in.once {
		return &finalError{fmt.Errorf("read %s: %w", s, err)}
	}
	return err
}

func seek(f *os.File, to int64) error { _, err := f.Seek(to, io.SeekStart); return err }

// Write writes to the file, as long as enough of the disk stays free: a server need not announce
// the size.
func (d *transfer) Write(p []byte) (int, error) {
	if d.all >= 0 && d.done+int64(len(p)) > d.all {
		return 0, &finalError{fmt.Errorf("the server sent more than the %d bytes that it announced", d.all)}
	}
	if err := d.o.reserve(d.to, int64(len(p))); err != nil {
		return 0, &finalError{err}
	}
	n, err := d.to.Write(p)
	d.done += int64(n)
	d.note(d.done, d.all)
	if err != nil {
		return n, &finalError{fmt.Errorf("write the copy of the bundle: %w", err)}
	}
	return n, nil
}

// retry repeats once after network errors, with increasing waits.
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

// watched is a response body whose context ends when nothing was read for a while.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	idle  time.Duration
	ctx   context.Context //nolint:containedctx // of the request whose body this is
	end   context.CancelCauseFunc
}

// watch creates the context of a request. body turns the response body into a watched one; without
// a body, stop must be called.
func (o *Options) watch(ctx context.Context) (w *watched) {
	w = &watched{idle: o.Idle}
	w.ctx, w.end = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(w.idle, func() { w.end(fmt.Errorf("no data for %s", w.idle)) })
	return w
}

func (w *watched) body(r io.ReadCloser) io.ReadCloser { w.ReadCloser = r; return w }

// Read reads, and returns the cause if the time limit has passed.
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
