package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"superctl/api"
	"superctl/daemon/control"
	"superctl/proc"
)

// live is the running app.
type live struct {
	*control.Client
	to   Target
	home string // the release that was live before
}

func openLive(opt Options) *live {
	return &live{Client: control.NewClient(opt.Config.Control, opt.Config.App), to: opt.Target, home: opt.Releases[0].Name}
}

func (l *live) target() Target { return l.to }

// lastWords returns nothing: the output is in the journal.
func (l *live) lastWords() []string { return nil }

// restart leaves it to the service manager.
func (l *live) restart(context.Context) error { return nil }

// backTime is how long the switch back to the previous release may take.
const backTime = 5 * time.Minute

// close makes the release live again that was live before.
func (l *live) close() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), backTime, fmt.Errorf("not within %s", backTime))
	defer cancel()
	st, err := eventually(ctx, l, func(st *api.Status) bool { return st.Changing == nil })
	if err == nil && st.Release == l.home {
		return nil
	}
	if err == nil {
		var out *api.Outcome
		out, err = l.Change(ctx, api.Request{Kind: api.Switch, Release: l.home}, func(Event) {})
		if err == nil && out.Result != api.Done {
			err = errors.New(out.Error)
		}
	}
	if err != nil {
		return fmt.Errorf("%s is not live again, as before the drill: %w; superctl status shows the live release, "+
			"superctl switch %s goes back", l.home, err, l.home)
	}
	return nil
}

// Restarted reports whether a service manager restarts the daemon after a kill: whether the daemon
// is in a unit of its own.
func Restarted(pid int) bool {
	groups, err := proc.Cgroups(pid)
	if err != nil {
		return false
	}
	for _, group := range groups {
		for part := range strings.SplitSeq(group.Path, "/") {
			if strings.HasPrefix(part, "superctl@") && strings.HasSuffix(part, ".service") {
				return true
			}
		}
	}
	return false
}
