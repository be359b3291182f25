package daemon

import (
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/servers"
)

// hookMargin is how much longer than its keep-alive time a server keeps an idle connection:
// gunicorn looks once a second, and the connections are counted once a second.
const hookMargin = 2 * time.Second

// answerWait is how long the stop signal of a worker waits for the first answers on the connections
// that it has accepted. A client sends its request as soon as it is connected, so those that take
// longer are slow requests, which the server finishes, or clients that send nothing, such as the
// connections that browsers open in advance.
const answerWait = 2 * time.Second

// Hooked reports whether the workers of a process load the drain hook.
func Hooked(p config.Process, server servers.Applied) bool {
	return p.DrainHook && server.Hook && len(p.Listen) > 0
}

// flagged reports whether the workers of a process get a flag file that tells them to drain,
// because there is no hook for their server. The program must react to the flag itself.
func flagged(p config.Process, server servers.Applied) bool {
	return p.DrainHook && !server.Hook && !server.Cuts && len(p.Listen) > 0
}

// counts reports whether the workers of a process load the drain hook only to count their requests:
// uWSGI needs nothing else of it.
func counts(p config.Process, server servers.Applied) bool {
	return p.DrainHook && server.Server == "uwsgi" && len(p.Listen) > 0
}

// Counted reports whether the workers of a process count their requests, without help of the program.
func Counted(p config.Process, server servers.Applied) bool {
	return Hooked(p, server) || counts(p, server)
}

// hookWait returns how long a draining worker may keep its connections before it gets the stop
// signal, unless the config sets drain_connections. With the hook, the server has closed all idle
// connections by then, and the stop signal lets the requests in progress finish. A server that cuts
// answers at the stop signal, and an unknown program, get the whole drain time.
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

// waitForAnswers returns how long a worker that does not wait for its connections waits for answers on
// them before it gets the stop signal. Puma, uvicorn, granian, hypercorn and Go's http.Server close a
// connection at the stop signal when its request has not arrived yet (measured). With the strategy
// hold, new connections wait meanwhile, in a queue that a dead daemon would lose.
func waitForAnswers(p config.Process) time.Duration {
	if p.StopsAtOnce || len(p.Listen) == 0 || p.Strategy == api.Hold {
		return 0
	}
	return answerWait
}
