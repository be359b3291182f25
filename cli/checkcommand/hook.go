//go:build linux

package checkcommand

import (
	"fmt"

	"superctl/config"
	"superctl/daemon"
	"superctl/servers"
)

// drainHookWarning returns a warning for a process with listeners whose workers do not have the
// drain hook. It reports whether there is something to warn of.
func drainHookWarning(p config.Process, server servers.Applied) (text string, warn bool) {
	switch {
	case len(p.Listen) == 0 || daemon.Hooked(p, server) || p.DrainConnections > 0:
		return "", false
	case server.Hook:
		return fmt.Sprintf(
			"process.%s: drain_hook = false: a request on a kept-alive connection to %s may be lost when the old workers stop: "+
				"remove drain_hook, or configure the proxy to close its connections (docs/nginx.md)", p.Name, server.Server,
		), true
	case server.Server == "uwsgi": // each answer says Connection: close, or its own protocol has no kept connections
		return "", false
	}
	return fmt.Sprintf(
		"process.%s: superctl has no drain hook for this server (%s): a request on a kept-alive connection may be lost when "+
			"the old workers stop: configure the proxy to close its connections (docs/nginx.md), or make the program answer "+
			"with Connection: close while it drains and set drain_connections (docs/long-lived-connections.md)",
		p.Name, server.Server,
	), true
}
