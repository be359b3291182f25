//go:build linux

package web

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// How often the daemons are asked, and until when after the last page was closed: a page that is
// loaded again has its figures at once.
const (
	askEvery = time.Second
	linger   = 10 * time.Second
)

// watch asks the daemons while a page is open, and tells all pages what they say. One goroutine, run,
// asks; it never waits for a page.
type watch struct {
	source Source
	opened chan struct{} // a page was opened; of capacity 1

	mu    sync.Mutex
	pages map[*page]bool // guarded by mu
}

// page is one page that is open.
type page struct {
	news chan []byte // of capacity 1: the next event
	// guarded by watch.mu: it has missed an event, or has had none, and needs everything
	behind bool
}

func newWatch(source Source) *watch {
	return &watch{source: source, opened: make(chan struct{}, 1), pages: make(map[*page]bool)}
}

// run asks the daemons whenever a page is open, until ctx ends.
func (w *watch) run(ctx context.Context) {
	b := newBook(w.source)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.opened:
		}
		tick.Reset(askEvery)
		b.resume()
		for last := time.Now(); time.Since(last) < linger; {
			now, whole := b.ask(ctx)
			if w.tell(now, whole) > 0 {
				last = time.Now()
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		tick.Stop()
		w.reopen()
	}
}

// reopen asks on if a page was opened just when run stopped asking.
func (w *watch) reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.opened: // by a page that may be closed by now
	default:
	}
	if len(w.pages) > 0 {
		w.wake()
	}
}

func (w *watch) wake() {
	select {
	case w.opened <- struct{}{}:
	default: // it is awake
	}
}

// tell gives all pages the newest event: what is new, or everything to one that has missed something.
// It returns the number of pages.
func (w *watch) tell(now []byte, whole func() []byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var everything []byte
	for p := range w.pages {
		event := now
		if p.behind {
			if everything == nil {
				everything = whole()
			}
			event = everything
		}
		select {
		case p.news <- event:
			p.behind = false
		default: // it has not read the event before
			p.behind = true
		}
	}
	return len(w.pages)
}

func (w *watch) open() (p *page, opened bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pages) >= maxPages {
		return nil, false
	}
	p = &page{news: make(chan []byte, 1), behind: true}
	w.pages[p] = true
	w.wake()
	return p, true
}

func (w *watch) close(p *page) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pages, p)
}

// events sends a page what changes, as server-sent events, until it is closed.
func (w *watch) events(rw http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		http.Error(rw, "These events are for the page of superctl web only.", http.StatusForbidden)
		return
	}
	h := rw.Header()
	h.Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		h.Set("Content-Type", "text/event-stream")
		return
	}
	p, opened := w.open()
	if !opened {
		h.Set("Retry-After", "10")
		http.Error(rw, "Too many pages of superctl web are open: close some.", http.StatusServiceUnavailable)
		return
	}
	defer w.close(p)
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx passes each event on at once
	rc := http.NewResponseController(rw)
	_ = rc.SetReadDeadline(time.Time{}) // the limit of a request: the events go on
	for event := []byte("retry: 2000\n\n"); ; {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := rw.Write(event); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case event = <-p.news:
		}
	}
}
