package servers

import (
	_ "embed"
	"path/filepath"
	"slices"
	"time"
)

//go:embed bridge.py
var bridge []byte

// Bridge is the program, in Python, that runs a server whose command line takes no listener, or that cuts what it is doing when
// it is told to end. A command for which Applied.Bridged is set finds it at Input.Bridge.
func Bridge() []byte { return slices.Clone(bridge) }

// bridged has the server run by the bridge, in the interpreter that would have run it: that beside it, or the first in PATH.
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
	c.out.Command = slices.Concat(c.in.Command[:at], interpreter, []string{c.in.Bridge, c.out.Server}, c.in.Command[c.program+1:])
}

// granian binds an address of its own in each of its workers (2.8: no option takes a descriptor). TERM lets it finish, for as long as
// that takes.
func (c *command) granian() {
	c.served(1)
	c.environment("GRANIAN_")
	c.refuse([]rule{
		{[]string{"--host", "--port", "--uds", "--uds-permissions"}, handsListener},
		{[]string{"--reload"}, switches},
		{[]string{"--pid-file"}, pidFile},
		{[]string{"--ssl-certificate", "--ssl-keyfile"}, noTLS},
	})
	for _, g := range c.all("--metrics") {
		c.warn("%s: %s: two generations run at once and share the port, so that a scrape may meet either", c.where(g), g.text)
	}
	c.within("--workers-kill-timeout")
	c.outside("--working-dir")
	c.persistent(30*time.Second, "")
	for _, g := range c.all("--http1-header-read-timeout") { // from the end of an answer on, and in milliseconds
		if d, err := time.ParseDuration(g.value + "ms"); err == nil {
			c.out.KeepAlive = d
			break
		}
	}
	c.bridged()
}

// waitress takes sockets by its API only, and TERM is not handled at all (3.0).
func (c *command) waitress() {
	c.served(many)
	c.refuse([]rule{{[]string{"--host", "--port", "--listen", "--unix-socket", "--unix-socket-perms"}, handsListener}})
	c.persistent(2*time.Minute, "", "--channel-timeout")
	c.bridged()
}

// daphne takes descriptors, but TERM has it cancel all requests (4.2); and a unix socket is taken for TCP by --fd, and then never
// answered. The bridge gives it its listeners, so that --fd and --endpoint do nothing.
func (c *command) daphne() {
	c.served(many)
	c.refuse([]rule{{[]string{"-p", "--port", "-b", "--bind", "-u", "--unix-socket"}, handsListener}})
	for _, g := range c.all("-e", "--endpoint") {
		if len(g.value) >= 4 && g.value[:4] == "ssl:" {
			c.problem("%s: take out %s: %s", c.where(g), g.text, noTLS)
		}
	}
	c.persistent(time.Minute, "") // Twisted's; daphne has no option for it
	c.bridged()
}
