//go:build linux

// Package host finds all apps of this host and asks their daemons what they run. It reads only, and
// does not judge what it reads.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/control"
)

// answerTime limits how long one daemon is waited for. One that hangs must not hide the others.
const answerTime = 5 * time.Second

// App is an app of this host. Its JSON is the contract of `ls --json`.
type App struct {
	Name    string `json:"app"`
	Config  string `json:"config,omitempty"` // path; "" = it is not in /etc/superctl
	Control string `json:"control"`          // path of the control socket
	// Running reports whether there is a daemon; it may still not answer, or not to this user.
	Running bool        `json:"running"`
	Status  *api.Status `json:"status"`          // null = the daemon did not answer
	Error   string      `json:"error,omitempty"` // why it did not
}

// Ask returns all apps of this host, by name, with the answer of each daemon. The error says which
// directories could not be searched for apps; the apps of the others are returned.
func Ask(ctx context.Context) ([]App, error) {
	places, err := config.Places()
	return askPlaces(ctx, places), err
}

// askPlaces asks the daemons of the apps at these places, all at once.
func askPlaces(ctx context.Context, places []config.Place) []App {
	return askAll(ctx, places, func(ctx context.Context, p config.Place) App {
		return askWith(ctx, p, func(ctx context.Context, c *control.Client) (*api.Status, error) {
			st, err := c.Status(ctx)
			return &st, err
		})
	})
}

// askAll asks for all apps at once.
func askAll[T any](ctx context.Context, places []config.Place, ask func(context.Context, config.Place) T) []T {
	answers := make([]T, len(places))
	var asked sync.WaitGroup
	for i, p := range places {
		asked.Go(func() { answers[i] = ask(ctx, p) })
	}
	asked.Wait()
	return answers
}

// askWith asks the daemon of one app.
func askWith(
	ctx context.Context, p config.Place, request func(context.Context, *control.Client) (*api.Status, error),
) App {
	late := fmt.Errorf("the daemon does not answer within %s", answerTime)
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, late)
	defer cancel()
	app := App{Name: p.App, Config: p.Config, Control: p.Control, Running: true}
	st, err := request(ctx, clientOf(p.App, p.Config, p.Control))
	if err != nil {
		app.Running = !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED)
		app.Error = err.Error()
		if ctx.Err() != nil { // also when the answer has begun and does not end
			app.Error = context.Cause(ctx).Error()
		}
		return app
	}
	app.Status = st
	if st.App != "" && p.Config == "" {
		app.Name = st.App // the socket may have another name
	}
	return app
}

// clientOf returns a client for the daemon of an app. Without a config, the name is that of the socket,
// and the app may have another.
func clientOf(app, config, path string) *control.Client {
	if config == "" {
		app = ""
	}
	return control.NewClient(path, app)
}
