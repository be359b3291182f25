// Package servers holds what is known of each server that superctl runs: how it takes a listener, which signal drains it,
// which option bounds the drain, and which options of a user's command would undo that.
//
// It only reads: a command goes in, and the command to run comes out with all that is to be said of it. An option that the
// user has given is never given again. A server that is not known runs by the generic contract: it finds its listeners by
// LISTEN_FDS or {fd.NAME}, and SIGTERM drains it. Presets say nothing of readiness: only an answer proves a release.
package servers

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Input is a process as the config has it.
type Input struct {
	Command []string
	Release string        // path, to find out versions and to read the server's own config file; "" = not known yet
	Listen  []string      // names of its listeners, in the order of their descriptors, from 3
	Unix    []string      // the paths of those that are unix sockets, "" for TCP, in the order of Listen
	Bridge  string        // path of the program that Bridge is written to
	Drain   time.Duration // from the stop signal to SIGKILL
	Server  string        // overrides what is found from the command
	Env     []string      // NAME=VALUE, for options that a server takes from its environment
	Single  bool          // two of it never run at once
}

// Applied is the process as it is to be run.
type Applied struct {
	Server     string // one of Servers
	Command    []string
	StopSignal syscall.Signal
	Protocol   string        // that its health check speaks: "http" or "uwsgi"
	HideListen bool          // LISTEN_FDS and its like are not for it: it is told its descriptors by options
	Bridged    bool          // Command runs the program at Input.Bridge
	Hook       bool          // the drain hook is proved with it
	KeepAlive  time.Duration // with Hook: for how long it keeps an idle connection
	Cuts       bool          // its stop signal cuts an answer that is being sent; each answer ends its connection, without the hook too
	Warnings   []string      // what works, but perhaps not as it is meant
	Problems   []string      // what must be changed in the command before it can work
	Files      []string      // absolute paths of the configs whose options were read
	Opens      []string      // what the server listens on by itself and no user's request reaches, such as "unix:/run/stats.sock"

	options []word // all that were given, in the command and elsewhere
}

// generic is a server that nothing is known of.
const generic = "generic"

// known are the servers that something is known of.
func known() map[string]func(*command) {
	return map[string]func(*command){
		"cheroot":   (*command).cheroot,
		"daphne":    (*command).daphne,
		generic:     (*command).generic,
		"granian":   (*command).granian,
		"gunicorn":  (*command).gunicorn,
		"hypercorn": (*command).hypercorn,
		"node":      (*command).node,
		"puma":      (*command).puma,
		"uvicorn":   (*command).uvicorn,
		"uwsgi":     (*command).uwsgi,
		"waitress":  (*command).waitress,
	}
}

// Servers are the names that Input.Server takes.
func Servers() []string { return slices.Sorted(maps.Keys(known())) }

// Apply completes a command.
func Apply(in Input) Applied {
	a := Applied{Server: in.Server, Command: slices.Clone(in.Command), StopSignal: syscall.SIGTERM, Protocol: "http"}
	at := find(in.Command)
	if a.Server == "" {
		a.Server = generic
		if at >= 0 {
			a.Server = serverOf(in.Command[at])
		}
	}
	c := &command{in: in, out: &a, program: max(at, 0)}
	c.read("", in.Command[min(c.program+1, len(in.Command)):])
	c.detaches()
	if complete := known()[a.Server]; complete != nil {
		complete(c)
	}
	a.options = c.words
	return a
}

// wrapWords is how far into a command a server's name is looked for: behind `python -m`, `newrelic-admin run-program` and
// the like. The variables of `env A=b` do not count.
const wrapWords = 6

// find is the index of the word that names a known server, or -1.
func find(command []string) int {
	left := wrapWords
	for i, word := range command {
		if serverOf(word) != "" {
			return i
		}
		if !strings.Contains(word, "=") {
			left--
		}
		if left == 0 {
			break
		}
	}
	return -1
}

func serverOf(word string) string {
	switch name := filepath.Base(word); {
	case name == "gunicorn", name == "gunicorn3", name == "gunicorn.app.wsgiapp":
		return "gunicorn"
	case name == "uwsgi", name == "pyuwsgi", name == "uwsgi-core", strings.HasPrefix(name, "uwsgi_python"):
		return "uwsgi"
	case name == "waitress-serve":
		return "waitress"
	case name == "nodejs":
		return "node"
	case name != generic && known()[name] != nil:
		return name
	}
	return ""
}

// served refuses a server without a listener, which would bind an address of its own, one with more than it takes, and one
// that something stays in front of.
func (c *command) served(most int) {
	c.wrapper()
	if len(c.in.Listen) > most {
		c.problem("%s takes one listener, and this process has %d (%s): write a process for each", c.out.Server, len(c.in.Listen), strings.Join(c.in.Listen, ", "))
	}
	if len(c.in.Listen) > 0 {
		return
	}
	c.problem(`%s has no listener and would bind an address of its own, which the next release could not bind while this one runs: write listen = ["web"], and its address in [listen.web]`, c.out.Server)
}
