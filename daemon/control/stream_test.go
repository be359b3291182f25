package control

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"superctl/api"
)

func TestAClientThatFollowsIsAcceptedBeforeAnythingHappens(t *testing.T) {
	path := serve(t, &app{
		logs: func(ctx context.Context, _ func(api.LogLine) error) error {
			<-ctx.Done()
			return nil
		},
		attach: func(ctx context.Context, _ emitter) (*api.Attached, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
	})
	for request, query := range map[string]any{pathLogs: api.LogQuery{Follow: true}, pathAttach: struct{}{}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		body, err := NewClient(path, "shop").call(ctx, http.MethodPost, request, nil, query)
		if err != nil {
			t.Errorf("%s: not accepted while nothing happens: %v", request, err)
		} else if err := body.Close(); err != nil {
			t.Errorf("%s: %v", request, err)
		}
		cancel()
	}
}

func TestAClientThatDoesNotReadDoesNotBlockItsChange(t *testing.T) {
	ended := make(chan error, 1)
	path := serve(t, &app{change: func(
		ctx context.Context, _ api.Request, emit emitter,
	) (*api.Outcome, error) {
		for range 100_000 {
			emit(api.Event{Type: "output", Step: "before", Detail: strings.Repeat("x", 1000)})
		}
		emit(api.Event{Type: "end", Step: "before"})
		ended <- ctx.Err()
		return &api.Outcome{Result: api.Done}, nil
	}})
	conn := dial(t, path)
	const request = "POST /v1/change HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the change was ended: %v", err)
	}
	// When the client reads on, it gets the outcome and a note about the dropped lines.
	text, err := io.ReadAll(conn)
	complete := strings.Contains(string(text), `"outcome":"done"`) && strings.Contains(string(text), `"type":"end"`)
	if err != nil || !complete || len(text) > 10<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
