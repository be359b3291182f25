package control

import (
	"errors"
	"net/http"

	"superctl/supervisor"
)

func (h handler) change(w http.ResponseWriter, r *http.Request) {
	var req supervisor.Request
	if !read(w, r, &req) {
		return
	}
	req.Who = who(r)
	write := lines(w)
	out, err := h.c.Change(r.Context(), req, func(ev supervisor.Event) { _ = write(message{Event: &ev}) })
	if err != nil {
		_ = write(message{Refused: refuse(err)})
		return
	}
	_ = write(message{Outcome: out})
}

func refuse(err error) *refusal {
	r := &refusal{Error: err.Error()}
	var busy *supervisor.BusyError
	if errors.As(err, &busy) {
		r.Changing = &busy.Changing
	}
	var no *supervisor.RefusedError
	if errors.As(err, &no) {
		r.Usage = no.Usage
	}
	return r
}

func (h handler) logs(w http.ResponseWriter, r *http.Request) {
	var q supervisor.LogQuery
	if !read(w, r, &q) {
		return
	}
	write := lines(w)
	if q.Follow {
		_ = http.NewResponseController(w).Flush() // so that the client knows that it is heard
	}
	_ = h.c.Logs(r.Context(), q, func(l supervisor.LogLine) error { return write(l) })
}
