package control

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"superctl/api"
)

func TestTheWordReachesAChangeThatIsReady(t *testing.T) {
	word := make(chan string)
	path := serve(t, &app{
		change: func(_ context.Context, _ api.Request, emit emitter) (*api.Outcome, error) {
			emit(api.Event{Type: "ready", Step: api.StepReady, Change: "one"})
			return &api.Outcome{Result: api.Done, Release: <-word}, nil
		},
		word: func(change string) error {
			if change != "one" {
				return &api.RefusedError{Err: errors.New("too late")}
			}
			word <- "at the word"
			return nil
		},
	})
	c := NewClient(path, "shop")
	said := make(chan error, 1)
	out, err := c.Change(t.Context(), api.Request{Kind: api.Switch, Prepare: time.Minute}, func(ev api.Event) {
		var refused *api.RefusedError
		if err := c.Go(t.Context(), "another"); !errors.As(err, &refused) || err.Error() != "too late" {
			t.Errorf("a word for another change: %v", err)
		}
		go func() { said <- c.Go(t.Context(), ev.Change) }()
	})
	if err != nil || out.Release != "at the word" {
		t.Errorf("%+v, %v", out, err)
	}
	if err := <-said; err != nil {
		t.Error(err)
	}
}

// oldDaemon answers a request as a daemon does that does not know one of its fields.
func oldDaemon(t *testing.T, field string) (path string) {
	t.Helper()
	return hangsUpAfter(t, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"+
		"the request cannot be read: json: unknown field \""+field+"\"\n")
}

func TestADaemonThatIsTooOldForARequestIsNamed(t *testing.T) {
	req := api.Request{Kind: api.Switch, Prepare: time.Minute}
	_, err := NewClient(oldDaemon(t, "prepare"), "shop").Change(t.Context(), req, nil)
	if err == nil || !strings.Contains(err.Error(), `older than this superctl and does not know "prepare"`) ||
		!strings.Contains(err.Error(), "superctl upgrade") {
		t.Errorf("%v", err)
	}
}
