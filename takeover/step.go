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

	// of a move
	own   bool // at the next boot the app starts
	moved bool // nginx uses the app
}

// Step is a step of a takeover.
type Step string

// The steps, in order.
const (
	Share  Step = "share"  // the listener can be joined, and the daemon knows it; the old server keeps all connections
	Start  Step = "start"  // of the app's daemon, which starts no release by itself
	Switch Step = "switch" // the release is proved next to the old server, and gets all new connections
	Move   Step = "move"   // of nginx to the app's own address, if the old one cannot be shared
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

// nextMove returns the next step if the app has an address of its own. Both are enabled until nginx
// has moved, so that nginx finds its server after a reboot at any moment.
//
// The daemon starts no release by itself while it is noticed, because a start proves nothing. Before
// nginx moves that ends: the app must come back by itself.
func nextMove(f facts) Step {
	switch {
	case f.daemon != daemonLive && f.server && !f.noticed:
		return Share
	case f.daemon == daemonDown:
		return Start
	case f.daemon == daemonUp:
		return Switch
	case !f.own || f.noticed:
		return Enable
	case !f.moved:
		return Move
	case f.server:
		return Stop
	case !f.units:
		return Finish
	}
	return Done
}
