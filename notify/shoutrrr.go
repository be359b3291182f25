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

// limitShoutrrr sets a time limit for the library. It has none of its own, and no option for one
// except the default client, which nothing else here uses.
func limitShoutrrr() { http.DefaultClient.Timeout = callTimeout }

func checkShoutrrr(secret string) error {
	var r router.ServiceRouter
	scheme, _, err := r.ExtractServiceName(secret)
	if err != nil || scheme == "" {
		return errors.New("not a shoutrrr URL, such as ntfy://ntfy.sh/topic")
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
		return nil // to check it, the library would log in
	}
	if _, err := r.Locate(secret); err != nil {
		return fmt.Errorf("not a shoutrrr URL for %s", scheme)
	}
	return nil
}

// sendShoutrrr sends a message with the library, which supports many more services. The library
// takes no context: after ctx has ended, its own limits end its work.
func sendShoutrrr(ctx context.Context, c *caller, _ *Target, secret string, m *Message) error {
	sent := make(chan error, 1)
	go func() {
		var r router.ServiceRouter // ServiceRouter.Send would leak a goroutine on a timeout
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
