package takeover

// daemonState is how far the app's daemon is.
type daemonState int

const (
	daemonDown daemonState = iota // it does not run
	daemonUp                      // it runs, and no release is live
	daemonLive                    // a release is live
)

// facts are what decides the next step. They are looked up before each step, so a takeover that was
// interrupted anywhere continues where it was.
type facts struct {
	server  bool // the old server runs
	noticed bool // the daemon knows its listeners, and they can be joined
	daemon  daemonState
	units   bool // at the next boot the app starts, and the old server does not
}

// Step is a step of a takeover.
type Step string

// The steps, in order.
const (
	Share  Step = "share"  // the listener can be joined; all connections stay with the old server
	Start  Step = "start"  // of the app's daemon, which starts no release by itself
	Switch Step = "switch" // the release is proved next to the old server, and gets all new connections
	Stop   Step = "stop"   // of the old server, when its accept queue is empty
	Enable Step = "enable" // the app's unit instead of the old one
	Finish Step = "finish" // what only the takeover needed is removed
	Done   Step = "done"
)

// next returns the next step.
//
// Before the switch an old server that has ended changes nothing: its listener is still open here,
// and what waits in its queue is accepted by the new one. After the switch only the steps
// after Stop remain.
func next(f facts) Step {
	switch f.daemon {
	case daemonLive:
		switch {
		case f.server:
			return Stop
		case !f.units:
			return Enable
		case f.noticed:
			return Finish
		}
		return Done
	case daemonUp:
		if f.server && !f.noticed {
			return Share
		}
		return Switch
	case daemonDown:
	}
	if f.server && !f.noticed {
		return Share
	}
	return Start
}
