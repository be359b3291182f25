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

// The states of a generation that gets only a part of the connections, and is not live.
const (
	Canary  = "canary"  // before its cutover
	Control = "control" // after the cutover of the next one: the guard compares both
)

// Role returns what a generation is now: Canary, Control, or its state. While two generations get
// connections, share is the part of the new connections that it gets, in percent, if it gets any.
func Role(st *api.Status, g *api.GenerationStatus) (state string, share float64) {
	if st.Changing == nil {
		return g.State, 0
	}
	other, part := Control, st.Changing.OldShare
	if c := st.Changing.Canary; c != nil {
		other, part = Canary, c.Share
	}
	if part == 0 {
		return g.State, 0
	}
	if g.ID == st.Generation {
		return g.State, 100 - part
	}
	for _, l := range st.Listeners {
		if l.Canary == g.ID {
			return other, part
		}
	}
	return g.State, 0
}
