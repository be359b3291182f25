// Package servers knows the servers that superctl runs: how each takes a listener, which signal
// drains it, which option limits the drain, and which options of a user's command would defeat
// that.
//
// It only reads. Apply takes a command and returns the command to run, with warnings and problems.
// It never repeats an option that the user wrote. An unknown server runs by the generic contract:
// it finds its listeners by LISTEN_FDS or {fd.NAME}, and SIGTERM drains it. Presets do not define
// readiness: only an answer proves a release.
package servers

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Input is a process as configured.
type Input struct {
	Command []string
	Release string        // path, for finding versions and reading the server's config file; "" = not known yet
	Listen  []string      // names of its listeners, in the order of their descriptors, from 3
	Unix    []string      // for each listener the path of a unix socket, or "" for TCP
	Bridge  string        // path of the program that Bridge returns
	Drain   time.Duration // from the stop signal to SIGKILL
	Server  string        // overrides the server found in the command
	Env     []string      // NAME=VALUE, for options that a server takes from its environment
	Single  bool          // two instances never run at once
}

// Applied is the process to run.
type Applied struct {
	Server     string // one of Servers
	Command    []string
	StopSignal syscall.Signal
	Protocol   string        // of its health check: "http" or "uwsgi"
	HideListen bool          // do not set LISTEN_FDS and its like: options name the descriptors
	Bridged    bool          // Command runs the program at Input.Bridge
	Hook       bool          // the drain hook is proved with this server
	KeepAlive  time.Duration // with Hook: how long the server keeps an idle connection
	// the stop signal aborts a response that is being sent; each response ends its connection, even
	// without the hook
	Cuts     bool
	Warnings []string  // what works, but perhaps not as intended
	Problems []string  // what must change in the command before it can work
	Files    []string  // absolute paths of the config files that were read
	Expanded []Setting // options with placeholders of the server
	// sockets that the server opens itself and no user's request reaches, such as
	// "unix:/run/stats.sock"
	Opens []string

	options []word // all that were given, in the command and elsewhere
}

// Option returns the value of the first of the options that was given, in the command, a config
// file or a variable, in that order: Option("-k", "--worker-class"). A flag has no value.
func (a *Applied) Option(names ...string) (value string, given bool) {
	c := command{words: a.options}
	list := c.all(names...)
	if len(list) == 0 {
		return "", false
	}
	return list[0].value, true
}

// generic is the preset of an unknown server.
const generic = "generic"

// known returns the preset of each known server.
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

// Servers returns the values of Input.Server.
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

// wrapWords is how many words of a command may precede a server's name: `python -m`,
// `newrelic-admin run-program` and the like. The variables of `env A=b` do not count.
const wrapWords = 6

// find returns the index of the word that names a known server, or -1.
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

// served refuses a server without a listener, which would bind its own address, and one with more
// listeners than it takes. It also checks the programs in front of it.
func (c *command) served(most int) {
	c.wrappers()
	if len(c.in.Listen) > most {
		c.problem("%s takes one listener, and this process has %d (%s): write a process for each", c.out.Server,
			len(c.in.Listen), strings.Join(c.in.Listen, ", "))
	}
	if len(c.in.Listen) > 0 {
		return
	}
	c.problem(`%s has no listener and would bind an address of its own, which the next release could not bind while `+
		`this one runs: write listen = ["web"], and its address in [listen.web]`, c.out.Server)
}
