package control

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"superctl/api"
)

func TestARunOfAScheduledCommandIsStreamedRefusedAndEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ended := make(chan error, 1)
	s, err := Listen(path, -1, &app{
		cron: func(ctx context.Context, req api.CronRequest, emit emitter) (*api.CronRun, error) {
			switch req.Name {
			case "clear":
				emit(api.Event{Type: "output", Detail: "one"})
				emit(api.Event{Type: "output", Detail: "two"})
				return &api.CronRun{Name: "clear", Who: req.Who, Result: api.CronDone}, nil
			case "long":
				emit(api.Event{Type: "output", Detail: "it runs"})
				<-ctx.Done()
				ended <- ctx.Err()
				return &api.CronRun{Result: api.CronEnded}, nil
			}
			return nil, &api.RefusedError{Usage: true, Err: errors.New("there is none")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	c := NewClient(path, "shop")
	var lines []string
	out, err := c.RunCron(t.Context(), api.CronRequest{Name: "clear", Who: "not me"}, func(line string) { lines = append(lines, line) })
	if err != nil || out.Result != api.CronDone || out.Who == "not me" || !slices.Equal(lines, []string{"one", "two"}) {
		t.Errorf("%+v, %q, %v", out, lines, err)
	}
	var refused *api.RefusedError
	if _, err := c.RunCron(t.Context(), api.CronRequest{Name: "none"}, nil); !errors.As(err, &refused) || !refused.Usage {
		t.Errorf("a name that there is not: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.RunCron(ctx, api.CronRequest{Name: "long"}, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("Ctrl-C: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the command was not ended")
	}
}
