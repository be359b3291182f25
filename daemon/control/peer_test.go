package control

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"superctl/api"
)

func TestEventsArriveAndTheKernelIdentifiesThePeer(t *testing.T) {
	path := serve(t, &app{change: func(
		_ context.Context, req api.Request, emit emitter,
	) (*api.Outcome, error) {
		emit(api.Event{Type: "begin", Step: "boot"})
		return &api.Outcome{Result: api.Done, Who: req.Who, Origin: req.Origin}, nil
	}})
	var steps []string
	req := api.Request{Kind: api.Switch, Who: "the king"}
	event := func(ev api.Event) { steps = append(steps, ev.Step) }
	out, err := NewClient(path, "shop").Change(t.Context(), req, event)
	if err != nil || len(steps) != 1 || out.Who == "the king" || out.Peer == nil {
		t.Fatalf("%+v %v %v", out, steps, err)
	}
	if int(out.Peer.UID) != os.Getuid() || int(out.Peer.PID) != os.Getpid() {
		t.Errorf("%+v %v %v", out, steps, err)
	}
}

func TestTheUserOfThePagesMayOnlyLook(t *testing.T) {
	for request, allowed := range map[string]bool{
		"GET /v1/status": true, "GET /v1/measures": true, "GET /v1/history": true, "POST /v1/status": false, "GET /v1/environment": false,
		"POST /v1/change": false, "POST /v1/logs": false, "POST /v1/signal": false, "POST /v1/lock": false,
	} {
		method, path, _ := strings.Cut(request, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		if (peer{who: viewer, view: true}).may(r) != allowed {
			t.Errorf("%s: allowed is not %t", request, allowed)
		}
		if !(peer{who: "ann"}).may(r) {
			t.Errorf("%s is refused to another user", request)
		}
	}
}
