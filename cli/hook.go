package cli

import (
	"fmt"

	"superctl/config"
	"superctl/daemon"
	"superctl/servers"
)

// hookNote says what is at stake for a process with listeners whose workers do not have the hook.
func hookNote(p config.Process, server servers.Applied) (text string, stake bool) {
	switch {
	case len(p.Listen) == 0 || daemon.Hooked(p, server) || p.DrainConnections > 0:
		return "", false
	case server.Hook:
		return fmt.Sprintf("process.%s: drain_hook = false: a client that keeps a connection to %s open may lose the request that it sends "+
			"when the old workers stop; take it out, or have the proxy in front close its connections (docs/nginx.md)", p.Name, server.Server), true
	case server.Server == "uwsgi": // each answer says Connection: close, or its own protocol has no kept connections
		return "", false
	}
	return fmt.Sprintf("process.%s: superctl has no drain hook for this server (%s): a client that keeps a connection to it open may lose the request "+
		"that it sends when the old workers stop; have the proxy in front close its connections (docs/nginx.md), or have the program answer with "+
		"Connection: close while it drains, and write drain_connections (docs/long-lived-connections.md)", p.Name, server.Server), true
}
