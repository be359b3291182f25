package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
	"github.com/nicholas-fedor/shoutrrr/pkg/util/jsonclient"
)

// boundShoutrrr gives the library a time limit. It has none of its own, and no way to set one but the client that it shares with
// nobody else here.
func boundShoutrrr() { http.DefaultClient.Timeout = callTime }

func checkShoutrrr(secret string) error {
	var r router.ServiceRouter
	scheme, _, err := r.ExtractServiceName(secret)
	if err != nil || scheme == "" {
		return errors.New("it is no URL of shoutrrr's, such as ntfy://ntfy.sh/topic")
	}
	known := slices.DeleteFunc(r.ListServices(), func(s string) bool { return s == "logger" })
	slices.Sort(known)
	switch {
	case scheme == "smtp":
		return errors.New(`for mail write service = "email"`)
	case scheme == "generic":
		return errors.New(`for a hook of your own write service = "webhook"`)
	case !slices.Contains(known, scheme):
		return fmt.Errorf("shoutrrr knows no service %q; it has: %s", scheme, strings.Join(known, ", "))
	case scheme == "matrix":
		return nil // to look at it the library would log in
	}
	if _, err := r.Locate(secret); err != nil {
		return fmt.Errorf("it is no URL of shoutrrr's for %s", scheme)
	}
	return nil
}

// sendShoutrrr leaves a message to the library, for the many services that have nothing of their own here. It takes no context: when
// that ends, the library's own limits end what it does.
func sendShoutrrr(ctx context.Context, c *caller, _ *Target, secret string, m *Message) error {
	sent := make(chan error, 1)
	go func() {
		var r router.ServiceRouter // its own Send leaves a goroutine behind when it is late
		service, err := r.Locate(secret)
		if err == nil {
			params := types.Params{}
			params.SetTitle(m.title())
			err = service.Send(m.text(c.now()), &params)
		}
		sent <- err
	}()
	var err error
	select {
	case err = <-sent:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var answered jsonclient.Error
	if errors.As(err, &answered) && answered.StatusCode >= 400 {
		a := answer{answered.StatusCode, answered.Body}
		return a.failure(nil)
	}
	return err
}
