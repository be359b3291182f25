//go:build linux

package host

import "superctl/api"

// The health of an app whose daemon did not answer. That of others is of api.
const (
	Stopped = "stopped" // no daemon runs
	Unknown = "unknown" // there is a daemon, and it does not answer, or not to this user
)

// Health returns the health of the app: that of its status, Stopped or Unknown.
func (a *App) Health() string {
	switch {
	case a.Status != nil:
		return a.Status.Health
	case a.Running:
		return Unknown
	}
	return Stopped
}

// Canary is the state of a generation that gets a part of the connections before its cutover.
const Canary = "canary"

// Role returns what a generation is now: Canary, or its state. During a canary, share is the part of
// the new connections that it gets, in percent, if it gets any.
func Role(st *api.Status, g *api.GenerationStatus) (state string, share float64) {
	if st.Changing == nil || st.Changing.Canary == nil || st.Changing.Canary.Share == 0 {
		return g.State, 0
	}
	share = st.Changing.Canary.Share
	if g.ID == st.Generation {
		return g.State, 100 - share
	}
	for _, l := range st.Listeners {
		if l.Canary == g.ID {
			return Canary, share
		}
	}
	return g.State, 0
}
