// Package preset holds what is known of each server that superctl runs: how it takes a listener, which signal drains it,
// which option bounds the drain, and which options of a user's command would undo that.
//
// It only reads: a command goes in, and the command to run comes out with all that is to be said of it. A server that is
// not known runs by the generic contract: it finds its listeners by LISTEN_FDS or {fd.NAME}, and SIGTERM drains it.
package preset

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Input is a process as the config has it.
type Input struct {
	Command []string
	Release string        // path, to find out versions; "" = unknown
	Listen  []string      // names of its listeners, in the order of their descriptors, from 3
	Drain   time.Duration // from the stop signal to SIGKILL
	Server  string        // overrides what is found from the command
}

// Applied is the process as it is to be run.
type Applied struct {
	Server     string // "gunicorn", "uwsgi", "uvicorn" or "generic"
	Command    []string
	StopSignal syscall.Signal
	Protocol   string // that its health check speaks: "http" or "uwsgi"
	HideListen bool   // LISTEN_FDS and its like are not for it: it is told its descriptors by options
	Warnings   []string
	Problems   []string // what must be changed in the command before it can work
}

// Servers are the names that Input.Server takes.
func Servers() []string { return []string{"generic", "gunicorn", "uvicorn", "uwsgi"} }

// Apply completes a command.
func Apply(in Input) Applied {
	a := Applied{Server: in.Server, Command: slices.Clone(in.Command), StopSignal: syscall.SIGTERM, Protocol: "http"}
	at := find(in.Command)
	if a.Server == "" {
		a.Server = "generic"
		if at >= 0 {
			a.Server = serverOf(in.Command[at])
		}
	}
	if at < 0 {
		at = 0
	}
	c := &command{in: in, out: &a, args: in.Command[min(at+1, len(in.Command)):]}
	switch a.Server {
	case "gunicorn":
		c.gunicorn()
	case "uwsgi":
		c.uwsgi()
	case "uvicorn":
		c.uvicorn()
	}
	return a
}

// wrapWords is how far into a command a server's name is looked for: behind `python -m`, `env A=b`, `newrelic-admin
// run-program` and the like.
const wrapWords = 6

// find is the index of the word that names a known server, or -1.
func find(command []string) int {
	for i, word := range command[:min(wrapWords, len(command))] {
		if serverOf(word) != "" {
			return i
		}
	}
	return -1
}

func serverOf(word string) string {
	switch filepath.Base(word) {
	case "gunicorn", "gunicorn.app.wsgiapp":
		return "gunicorn"
	case "uwsgi", "pyuwsgi":
		return "uwsgi"
	case "uvicorn":
		return "uvicorn"
	}
	return ""
}

// command is a server's command while it is being completed.
type command struct {
	in   Input
	out  *Applied
	args []string // behind the server's name
}

// has tells whether the user has given one of the options, in any of the ways of writing it.
func (c *command) has(options ...string) bool {
	_, ok := c.value(options...)
	return ok
}

// value is the value of the first of the options that the user has given.
func (c *command) value(options ...string) (string, bool) {
	for i, arg := range c.args {
		for _, o := range options {
			switch {
			case arg == o && i+1 < len(c.args):
				return c.args[i+1], true
			case arg == o:
				return "", true
			case strings.HasPrefix(o, "--") && strings.HasPrefix(arg, o+"="):
				return arg[len(o)+1:], true
			case len(o) == 2 && o[0] == '-' && o[1] != '-' && len(arg) > 2 && strings.HasPrefix(arg, o):
				return arg[2:], true
			}
		}
	}
	return "", false
}

// add appends options, unless the user has given the first of them.
func (c *command) add(options ...string) {
	if !c.has(options[0]) {
		c.out.Command = append(c.out.Command, options...)
	}
}

func (c *command) problem(format string, args ...any) {
	c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
}

func (c *command) warn(format string, args ...any) {
	c.out.Warnings = append(c.out.Warnings, fmt.Sprintf(format, args...))
}

// refuse notes the options that must not be there, each with what to write instead.
func (c *command) refuse(options map[string]string) {
	for _, names := range slices.Sorted(keys(options)) {
		if list := strings.Fields(names); c.has(list...) {
			c.problem("%s: take out %s; %s", c.out.Server, strings.Join(list, " or "), options[names])
		}
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// seconds is the time that a server gets to drain by itself: a little less than superctl waits, so that it ends by its own
// will and says what it cuts.
func (c *command) seconds() int {
	s := int(c.in.Drain / time.Second)
	return max(1, s-max(1, s/10))
}

// graceful sees to a server's own drain limit: given by us when the user has not, and shorter than ours when he has.
func (c *command) graceful(option string) {
	value, given := c.value(option)
	if !given {
		c.add(option, fmt.Sprint(c.seconds()))
		return
	}
	if d, err := time.ParseDuration(value + "s"); err == nil && d > c.in.Drain {
		c.problem("%s: %s %s is longer than drain = %q, after which the workers are killed: raise drain, or take the option out",
			c.out.Server, option, value, c.in.Drain)
	}
}
