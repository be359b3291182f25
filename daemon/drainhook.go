package daemon

import (
	"time"

	"superctl/config"
	"superctl/servers"
)

// hookMargin is what servers take beyond their keep-alive time to end an idle connection: gunicorn
// looks once a second, and so does who counts them.
const hookMargin = 2 * time.Second

// Hooked tells whether the workers of a process load the drain hook.
func Hooked(p config.Process, server servers.Applied) bool {
	return p.DrainHook && server.Hook && len(p.Listen) > 0
}

// flagged tells whether the workers of a process, whose server has no hook and needs one, are told
// that they drain: what its program makes of that is its affair.
func flagged(p config.Process, server servers.Applied) bool {
	return p.DrainHook && !server.Hook && !server.Cuts && len(p.Listen) > 0
}

// hookWait is for how long a worker that drains may get rid of its connections, without a word in
// the config. With the hook its server has ended those that are idle then, and what is left are
// requests in progress, which the stop signal lets end. A server that the stop signal has cut an
// answer under way has until the end of drain, and so has a program that nothing is known of.
func hookWait(p config.Process, server servers.Applied) time.Duration {
	switch {
	case p.StopsAtOnce:
		return 0
	case Hooked(p, server):
		return min(server.KeepAlive+hookMargin, p.Drain)
	case server.Cuts && p.DrainHook && len(p.Listen) > 0, flagged(p, server):
		return p.Drain
	}
	return 0
}
