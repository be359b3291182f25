package control

import (
	"context"
	"net/http"
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
		body, err := NewClient(path).call(ctx, http.MethodPost, request, nil, query)
		if err != nil {
			t.Errorf("%s: not accepted while nothing happens: %v", request, err)
		} else if err := body.Close(); err != nil {
			t.Errorf("%s: %v", request, err)
		}
		cancel()
	}
}
