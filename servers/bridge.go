package servers

import (
	_ "embed"
	"path/filepath"
	"slices"
	"time"
)

//go:embed bridge.py
var bridge []byte

// Bridge returns a Python program that runs servers whose command line takes no inherited listener,
// or that abort requests on the stop signal. A command with Applied.Bridged set runs the program at
// Input.Bridge.
func Bridge() []byte { return slices.Clone(bridge) }

// bridged makes the bridge run the server, with the interpreter that the server would use: the one
// in the same directory, or the first in PATH.
func (c *command) bridged() {
	c.out.Bridged = true
	program := c.in.Command[c.program]
	at := c.program
	interpreter := []string{filepath.Join(filepath.Dir(program), "python3")}
	switch {
	case at > 0 && c.in.Command[at-1] == "-m":
		at, interpreter = at-1, nil
	case filepath.Base(program) == program:
		interpreter = []string{"python3"}
	}
	c.out.Command = slices.Concat(c.in.Command[:at], interpreter, []string{c.in.Bridge, c.out.Server},
		c.in.Command[c.program+1:])
}

// granian binds its own address in each of its workers (2.8: no option takes a descriptor). TERM
// makes it finish its requests, without a time limit.
func (c *command) granian() {
	c.served(1)
	c.environment("GRANIAN_")
	c.refuse([]rule{
		{[]string{"--host", "--port", "--uds", "--uds-permissions"}, passesListener},
		{[]string{"--reload"}, reloadsItself},
		{[]string{"--pid-file"}, pidFile},
		{[]string{"--ssl-certificate", "--ssl-keyfile"}, noTLS},
	})
	for _, g := range c.all("--metrics") {
		c.warn("%s: %s: two generations run at once and share the port, so that a scrape may meet either", c.where(g),
			g.text)
	}
	c.within("--workers-kill-timeout")
	c.outside("--working-dir")
	c.persistent(30*time.Second, "")
	for _, g := range c.all("--http1-header-read-timeout") { // from the end of a response, in milliseconds
		if d, err := time.ParseDuration(g.value + "ms"); err == nil {
			c.out.KeepAlive = d
			break
		}
	}
	c.bridged()
}

// waitress takes sockets by its API only, and does not handle TERM (3.0).
func (c *command) waitress() {
	c.served(many)
	c.refuse([]rule{{[]string{"--host", "--port", "--listen", "--unix-socket", "--unix-socket-perms"}, passesListener}})
	c.persistent(2*time.Minute, "", "--channel-timeout")
	c.bridged()
}

// daphne takes descriptors, but TERM makes it cancel all requests (4.2). With --fd it takes a unix
// socket for TCP and never answers. The bridge passes it the listeners, so that --fd and --endpoint
// have no effect.
func (c *command) daphne() {
	c.served(many)
	c.refuse([]rule{{[]string{"-p", "--port", "-b", "--bind", "-u", "--unix-socket"}, passesListener}})
	for _, g := range c.all("-e", "--endpoint") {
		if len(g.value) >= 4 && g.value[:4] == "ssl:" {
			c.problem("%s: take out %s: %s", c.where(g), g.text, noTLS)
		}
	}
	c.persistent(time.Minute, "") // Twisted's default; daphne has no option for it
	c.bridged()
}
