//go:build linux

package checkcommand

import (
	"fmt"
	"slices"

	"superctl/api"
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

// checkCounted warns of processes without a guard that the config does not leave unguarded.
func checkCounted(conf *config.Config, st *api.Status, f *findings) {
	newest := newestRelease(conf)
	for _, pr := range conf.Processes {
		if text, warn := uncountedWarning(pr, daemon.CommandOf(conf, newest, pr), st); warn {
			f.warn("%s", text)
		}
	}
}

// uncountedWarning returns a warning for a guarded process whose requests are not counted. It reports whether there
// is something to warn of. st is that of the running daemon, or empty: only it knows a program that counts by itself.
func uncountedWarning(p config.Process, server servers.Applied, st *api.Status) (text string, warn bool) {
	counting := slices.ContainsFunc(st.Processes, func(ps api.ProcessStatus) bool { return ps.Name == p.Name && ps.Requests != nil })
	switch {
	case p.Guard == nil || len(p.Listen) == 0 || counting || daemon.Counted(p, server):
		return "", false
	case !p.DrainHook:
		return fmt.Sprintf("process.%s: drain_hook = false: its requests are not counted, and no guard compares a new release with "+
			"the old one: remove drain_hook, or set guard = \"off\"", p.Name), true
	}
	program := "this server (" + server.Server + ")"
	if server.Server == "" || server.Server == "generic" {
		program = "a server without a preset"
	}
	return fmt.Sprintf("process.%s: superctl does not count the requests of %s, so no guard compares a new release with "+
		"the old one: have the program count them (docs/requests.md), or set guard = \"off\"", p.Name, program), true
}
