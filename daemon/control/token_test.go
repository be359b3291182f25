package control

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"superctl/api"
)

// endless serves changes that end with their context, and sends the cause of that end.
func endless(t *testing.T) (path string, began chan struct{}, ended chan error) {
	t.Helper()
	began, ended = make(chan struct{}, 1), make(chan error, 1)
	path = serve(t, &app{change: func(ctx context.Context, _ api.Request, _ emitter) (*api.Outcome, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return &api.Outcome{}, nil
	}})
	return path, began, ended
}

func TestTheEndOfAClientEndsItsChangeWithTheCause(t *testing.T) {
	canceled := func(err error) bool {
		var by *api.CanceledError
		return errors.As(err, &by) && by.Who != ""
	}
	for name, tc := range map[string]struct {
		ask   func(c *Client, ctx context.Context) error
		cause error // of the client's context
		want  func(error) bool
	}{
		"it withdraws": {
			ask:   func(c *Client, ctx context.Context) error { return change(ctx, c.Change) },
			cause: context.Canceled, want: canceled,
		},
		"it leaves": {
			ask:   func(c *Client, ctx context.Context) error { return change(ctx, c.Change) },
			cause: ErrLeave, want: func(err error) bool { return errors.Is(err, api.ErrClientGone) },
		},
		"it must see the outcome": {
			ask:   func(c *Client, ctx context.Context) error { return change(ctx, c.ChangeWhileConnected) },
			cause: ErrLeave, want: func(err error) bool { return errors.Is(err, context.Canceled) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, began, ended := endless(t)
			ctx, end := context.WithCancelCause(t.Context())
			gone := make(chan error, 1)
			go func() { gone <- tc.ask(NewClient(path, "shop"), ctx) }()
			<-began
			end(tc.cause)
			if err := <-ended; !tc.want(err) {
				t.Errorf("the change ends with %v", err)
			}
			if err := <-gone; err != nil && !errors.Is(err, tc.cause) { // the outcome may come first
				t.Errorf("the client ends with %v", err)
			}
		})
	}
}

// change asks for any change.
func change(
	ctx context.Context, ask func(context.Context, api.Request, func(api.Event)) (*api.Outcome, error),
) error {
	_, err := ask(ctx, api.Request{Kind: api.Switch}, func(api.Event) {})
	return err
}

func TestARequestThatArrivesAfterItsWithdrawalIsCanceled(t *testing.T) {
	var all tokens
	all.withdraw("one")
	for token, want := range map[string]bool{"one": true, "two": false, "": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathChange, http.NoBody)
		r.Header.Set(tokenHeader, token)
		ctx, forget := all.begin(r, "anna")
		if got := ctx.Err() != nil; got != want {
			t.Errorf("%q: canceled %t, want %t", token, got, want)
		}
		forget()
	}
	if len(all.open) != 0 {
		t.Errorf("%d requests are kept", len(all.open))
	}
	for range 10 * mostWithdrawn {
		all.withdraw("unknown")
	}
	if len(all.withdrawn) > mostWithdrawn {
		t.Errorf("%d withdrawn requests are kept", len(all.withdrawn))
	}
}

func TestAClientFollowsAChangeAndCancelsIt(t *testing.T) {
	canceled := make(chan api.CancelRequest, 1)
	path := serve(t, &app{
		attach: func(_ context.Context, emit emitter) (*api.Attached, error) {
			emit(api.Event{Type: "begin", Step: api.StepBoot})
			by := <-canceled
			return &api.Attached{InProgress: true, Outcome: &api.Outcome{Result: api.Aborted, Error: by.Why}}, nil
		},
		cancel: func(_ context.Context, req api.CancelRequest) (*api.Canceled, error) {
			if req.Peer == nil {
				return nil, errors.New("who is it?")
			}
			canceled <- req
			return &api.Canceled{Canceled: true}, nil
		},
	})
	c := NewClient(path, "shop")
	out, err := c.Attach(t.Context(), func(ev api.Event) {
		got, err := c.Cancel(t.Context(), api.CancelRequest{Why: "wrong release", Origin: api.Origin{Behalf: "anna"}})
		if err != nil || !got.Canceled || ev.Step != api.StepBoot {
			t.Errorf("%+v, %v", got, err)
		}
	})
	if err != nil || !out.InProgress || out.Outcome.Error != "wrong release" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestAFollowerThatIsGoneIsLeft(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	path := serve(t, &app{attach: func(ctx context.Context, _ emitter) (*api.Attached, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return nil, context.Cause(ctx)
	}})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-began; leave() }()
	if _, err := NewClient(path, "shop").Attach(ctx, func(api.Event) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-ended
}

func TestAFollowerOfADaemonThatDiesIsToldTheNextStep(t *testing.T) {
	path := hangsUpAfter(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	_, err := NewClient(path, "shop").Attach(t.Context(), func(api.Event) {})
	if lost := new(UnreachableError); !errors.As(err, &lost) {
		t.Errorf("%v", err)
	}
}
