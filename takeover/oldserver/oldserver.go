// Package oldserver stops a server that superctl has replaced, so that no request is lost.
//
// Stop begins after the cutover, when new connections reach the new server and the old accept queue
// is empty. What is lost then depends on how the server stops:
//
//   - Most servers close the connections that clients keep open. Package rescue holds them and
//     passes their next requests to the new server.
//   - gunicorn removes the path of its unix socket at the beginning of its stop, and uWSGI has no
//     signal for a stop that finishes requests. Their masters are frozen, their workers are told to
//     finish, and then the masters are killed: freeze.
//   - gunicorn's asgi worker announces the end of a connection in the answer, unless the signal
//     arrives between the answer's head and the end of the request. It gets the signal at a moment
//     in which it waits for events, when no answer is in between: quiet freeze.
//   - A daemon of superctl turns its gate when it stops, away from its successor. It is killed, and
//     its unit ends its workers.
//   - uvicorn removes the path of its unix socket at the end. A bind mount pins it.
//
// What started the server (systemd, supervisord) is told so that it does not start it again.
//
// A stop that is interrupted halfway would leave a frozen server, so Stop runs it in a process in a
// session of its own, which goes on when the caller is killed.
package oldserver

import (
	"fmt"
	"strings"
	"time"

	"superctl/takeover/running"
)

// Options are the limits of a stop.
type Options struct {
	// Drain limits how long the old server may take to finish its requests; then it is killed.
	// Default 90 s, which is systemd's.
	Drain time.Duration
	// Idle says that the server has no connections any more: what started it can stop it.
	Idle bool
	// Progress gets a short sentence for each step. It may be nil.
	Progress func(string) `json:"-"`
}

const defaultDrain = 90 * time.Second

// Report says how a server was stopped.
type Report struct {
	Method  string // as Describe says it
	Rescued int    // connections that were held
	Relayed int    // requests that were relayed until the old server had ended
	Killed  int    // processes that did not finish in time and were killed
	// Unsure lists processes that got their signal although they were not seen waiting for events.
	Unsure []int
}

// method is the way a server is stopped.
type method int

const (
	terminate method = iota // what started it stops it; by hand: SIGTERM
	freeze                  // the master is stopped, its workers get the signal, then the master is killed
	quiet                   // freeze, and each worker gets its signal while it waits for events
	orphan                  // the daemon is stopped and killed, and then its unit has the workers finish
	pin                     // terminate while the path of the unix socket cannot be removed
)

func methodOf(s *running.Server) method {
	switch s.Kind {
	case running.UWSGI:
		return freeze
	case running.Gunicorn:
		switch {
		case isASGI(s):
			return quiet
		case ownsPath(s):
			return freeze
		}
	case running.Uvicorn:
		if ownsPath(s) {
			return pin
		}
	case running.Superctl:
		return orphan
	case running.Unknown:
	}
	return terminate
}

// ownsPath reports whether the server bound a unix socket itself, and so would remove its path.
func ownsPath(s *running.Server) bool {
	if len(s.Manager.Sockets) > 0 {
		return false
	}
	for _, l := range s.Listeners {
		if l.Path != "" && !strings.HasPrefix(l.Path, "@") {
			return true
		}
	}
	return false
}

func isASGI(s *running.Server) bool {
	return s.WorkerClass == "asgi" || strings.Contains(s.WorkerClass, "gasgi")
}

// rescues reports whether held connections help. gunicorn's sync worker and uWSGI keep none open;
// gunicorn's asgi worker shuts them down before it closes them; TLS cannot be relayed.
func rescues(s *running.Server) bool {
	switch {
	case s.TLS, s.Kind == running.UWSGI:
		return false
	case s.Kind == running.Gunicorn:
		return s.WorkerClass != "sync" && !isASGI(s)
	}
	return true
}

// Describe says how Stop will stop a server, and what it cannot save.
func Describe(s *running.Server) (method string, warnings []string) {
	switch methodOf(s) {
	case freeze:
		method = "freeze its master, let its workers finish, kill the master"
	case quiet:
		method = "freeze its master, let each worker finish from a moment without an answer in progress, kill the master"
	case orphan:
		method = "kill its daemon, let its workers finish"
	case pin:
		method = "pin the path of its socket, " + ask(s)
	case terminate:
		method = ask(s)
	}
	if rescues(s) {
		method += ", and pass the next requests of kept connections to the new server"
	}
	if isASGI(s) {
		warnings = append(warnings, "a streamed answer that is in progress ends without Connection: close: "+
			"a client that uses the connection again within a moment can lose that request")
	}
	if s.Kind == running.Gunicorn && !isTested(s.WorkerClass) {
		warnings = append(warnings, fmt.Sprintf("takeovers were not tested with gunicorn's %s workers: "+
			"requests can be lost while they stop", s.WorkerClass))
	}
	if s.TLS {
		warnings = append(warnings, "the server itself speaks TLS: "+
			"a request on a kept connection that arrives while it stops can be lost")
	}
	return method, warnings
}

// DescribeIdle says how Stop will stop a server that has no connections any more.
func DescribeIdle(s *running.Server) (method string) {
	switch {
	case s.Kind == running.UWSGI && (s.NoMaster || s.Router):
		return "kill it"
	case s.Kind == running.UWSGI:
		method, _ = Describe(s)
		return method
	}
	return ask(s)
}

// isTested reports whether it was measured how gunicorn's workers of a class end: e2e/oldserver.
func isTested(class string) bool {
	switch class {
	case "sync", "gthread", "asgi", "uvicorn_worker.UvicornWorker", "uvicorn.workers.UvicornWorker":
		return true
	}
	return strings.Contains(class, "gasgi")
}

func ask(s *running.Server) string {
	switch s.Manager.Kind {
	case running.Systemd:
		return "systemctl stop " + strings.Join(units(s), " ")
	case running.Supervisord:
		return "supervisorctl stop " + s.Manager.Program
	case running.None:
	}
	return "send it SIGTERM"
}

// units returns the units to stop: the sockets first, or the next connection starts the service
// again.
func units(s *running.Server) []string {
	return append(append([]string{}, s.Manager.Sockets...), s.Manager.Unit)
}
