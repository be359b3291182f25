package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"superctl/api"
	"superctl/plain"
)

func (h handler) change(w http.ResponseWriter, r *http.Request) {
	var req api.Request
	if !readJSON(w, r, &req) {
		return
	}
	req.Who, req.Origin = identifyRun(r, req.Origin)
	ctx, forget := h.tokens.begin(r, req.By(req.Who))
	defer forget()
	h.stream(w, func(emit func(api.Event)) (message, error) {
		out, err := h.c.Change(ctx, req, emit)
		return message{Outcome: out}, err
	})
}

func (h handler) cron(w http.ResponseWriter, r *http.Request) {
	var req api.CronRequest
	if !readJSON(w, r, &req) {
		return
	}
	req.Who, req.Origin = identify(r)
	h.stream(w, func(emit func(api.Event)) (message, error) {
		out, err := h.c.RunCron(r.Context(), req, emit)
		return message{Ran: out}, err
	})
}

func (h handler) attach(w http.ResponseWriter, r *http.Request) {
	var req struct{}
	if !readJSON(w, r, &req) {
		return
	}
	h.stream(w, func(emit func(api.Event)) (message, error) {
		_ = http.NewResponseController(w).Flush() // so that the client sees that the request was accepted
		out, err := h.c.Attach(r.Context(), emit)
		return message{Attached: out}, err
	})
}

// stream answers with the events that run emits, and then with its message, or why it was refused.
func (h handler) stream(w http.ResponseWriter, run func(emit func(api.Event)) (message, error)) {
	write := lineWriter(w)
	t := startEventWriter(w)
	last, err := run(t.send)
	t.finish()
	if err != nil {
		last = message{Refused: h.refusal(err)}
	}
	_ = write(last)
}

func (h handler) cancel(w http.ResponseWriter, r *http.Request) {
	var req api.CancelRequest
	if !readJSON(w, r, &req) {
		return
	}
	req.Who, req.Origin = identifyRun(r, req.Origin)
	write := lineWriter(w)
	out, err := h.c.Cancel(r.Context(), req)
	if err != nil {
		_ = write(cancelAnswer{Refused: h.refusal(err)})
		return
	}
	_ = write(cancelAnswer{Canceled: out})
}

// eventWriter writes the events of a change from its own goroutine: a client that does not read,
// such as one behind a pager, does not block the change, and is not mistaken for one that hung up.
type eventWriter struct {
	events  chan api.Event
	control *http.ResponseController
	writing sync.WaitGroup
	lost    int // events dropped since the last one that fitted
}

func startEventWriter(w http.ResponseWriter) *eventWriter {
	t := &eventWriter{events: make(chan api.Event, eventBuffer), control: http.NewResponseController(w)}
	enc := json.NewEncoder(w)
	t.writing.Go(func() {
		for ev := range t.events {
			if enc.Encode(message{Event: &ev}) == nil {
				_ = t.control.Flush() // an error shows at the next event
			}
		}
	})
	return t
}

// send queues an event, or drops it if the buffer is full. Output is dropped first, to leave room
// for steps.
func (t *eventWriter) send(ev api.Event) {
	if t.lost > 0 && len(t.events) < eventBuffer/4 {
		t.events <- api.Event{
			Type: "output", Step: ev.Step, Detail: fmt.Sprintf("... %s left out here", plain.Count(t.lost, "line is", "lines are")),
		}
		t.lost = 0
	}
	if len(t.events) >= eventBuffer || ev.Type == "output" && (t.lost > 0 || len(t.events) >= eventBuffer/2) {
		t.lost++
		return
	}
	t.events <- ev // this is the only sender, so there is room
}

// finish waits until all events are written, or until the client has not read for writeTimeout.
func (t *eventWriter) finish() {
	close(t.events)
	_ = t.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	t.writing.Wait()
}

// identifyRun returns who a request comes from, with what it claims about its run.
func identifyRun(r *http.Request, claimed api.Origin) (who string, origin api.Origin) {
	who, origin = identify(r)
	origin.Run, origin.Behalf = claimed.Run, claimed.Behalf
	return who, origin
}

func (h handler) lock(w http.ResponseWriter, r *http.Request) {
	var l api.Lock
	if !readJSON(w, r, &l) {
		return
	}
	l.Who, l.Origin = identifyRun(r, l.Origin)
	write := lineWriter(w)
	held := false
	err := h.c.Lock(r.Context(), l, func() {
		held = true
		_ = write(lockAnswer{Locked: true}) // a client that is gone ends the context
	})
	if err != nil && !held {
		_ = write(lockAnswer{Refused: h.refusal(err)})
	}
}

func (h handler) refusal(err error) *refusal {
	r := &refusal{Error: err.Error(), Moved: h.left()}
	var busy *api.BusyError
	switch {
	case errors.As(err, &busy) && busy.Lock != nil:
		r.Lock = busy.Lock
	case errors.As(err, &busy):
		r.Changing = &busy.Changing
	}
	var no *api.RefusedError
	if errors.As(err, &no) {
		r.Usage = no.Usage
	}
	return r
}

func (h handler) goAhead(w http.ResponseWriter, r *http.Request) {
	var req goRequest
	if !readJSON(w, r, &req) {
		return
	}
	var answer goAnswer
	if err := h.c.Go(req.Change); err != nil {
		answer.Refused = h.refusal(err)
	}
	_ = lineWriter(w)(answer)
}

func (h handler) report(w http.ResponseWriter, r *http.Request) {
	var report api.RunReport
	if !readJSON(w, r, &report) {
		return
	}
	report.Who, report.Origin = identifyRun(r, report.Origin)
	var answer reportAnswer
	if err := h.c.Announce(report); err != nil {
		answer.Refused = h.refusal(err)
	}
	_ = lineWriter(w)(answer)
}

func (h handler) signal(w http.ResponseWriter, r *http.Request) {
	var req api.SignalRequest
	if !readJSON(w, r, &req) {
		return
	}
	req.Who, req.Origin = identify(r)
	out, err := h.c.Signal(req)
	answer := signalAnswer{Signaled: out}
	if err != nil {
		answer = signalAnswer{Refused: h.refusal(err)}
	}
	_ = lineWriter(w)(answer)
}

func (h handler) logs(w http.ResponseWriter, r *http.Request) {
	var q api.LogQuery
	if !readJSON(w, r, &q) {
		return
	}
	write := lineWriter(w)
	if q.Follow {
		_ = http.NewResponseController(w).Flush() // so that the client sees that the request was accepted
	}
	_ = h.c.Logs(r.Context(), q, func(l api.LogLine) error { return write(l) })
}
