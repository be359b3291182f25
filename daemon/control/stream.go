package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"superctl/api"
)

func (h handler) change(w http.ResponseWriter, r *http.Request) {
	var req api.Request
	if !read(w, r, &req) {
		return
	}
	identify(&req, r)
	write := lines(w)
	t := tell(w)
	out, err := h.c.Change(r.Context(), req, t.event)
	t.end()
	if err != nil {
		_ = write(message{Refused: refuse(err)})
		return
	}
	_ = write(message{Outcome: out})
}

// teller writes the events of a change beside it: a client that stands still, such as one behind a pager, holds up nothing, and is
// not taken for one that has hung up while the change goes on.
type teller struct {
	events  chan api.Event
	control *http.ResponseController
	writing sync.WaitGroup
	lost    int // events that did not fit since the last one that did
}

func tell(w http.ResponseWriter) *teller {
	t := &teller{events: make(chan api.Event, waiting), control: http.NewResponseController(w)}
	enc := json.NewEncoder(w)
	t.writing.Go(func() {
		for ev := range t.events {
			if enc.Encode(message{Event: &ev}) == nil {
				_ = t.control.Flush() // what is wrong shows at the next one
			}
		}
	})
	return t
}

// event hands on an event, or leaves it out: output first, so that there is room for steps.
func (t *teller) event(ev api.Event) {
	if t.lost > 0 && len(t.events) < waiting/4 {
		t.events <- api.Event{Type: "output", Step: ev.Step, Detail: fmt.Sprintf("... %d lines are left out here", t.lost)}
		t.lost = 0
	}
	if len(t.events) >= waiting || ev.Type == "output" && (t.lost > 0 || len(t.events) >= waiting/2) {
		t.lost++
		return
	}
	t.events <- ev // nobody else writes to it, so there is room
}

// end waits until all is written, or until the client has not read for writeTime.
func (t *teller) end() {
	close(t.events)
	_ = t.control.SetWriteDeadline(time.Now().Add(writeTime))
	t.writing.Wait()
}

func refuse(err error) *refusal {
	r := &refusal{Error: err.Error()}
	var busy *api.BusyError
	if errors.As(err, &busy) {
		r.Changing = &busy.Changing
	}
	var no *api.RefusedError
	if errors.As(err, &no) {
		r.Usage = no.Usage
	}
	return r
}

func (h handler) logs(w http.ResponseWriter, r *http.Request) {
	var q api.LogQuery
	if !read(w, r, &q) {
		return
	}
	write := lines(w)
	if q.Follow {
		_ = http.NewResponseController(w).Flush() // so that the client knows that it is heard
	}
	_ = h.c.Logs(r.Context(), q, func(l api.LogLine) error { return write(l) })
}
