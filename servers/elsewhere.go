package servers

import (
	"path/filepath"
	"strings"
)

// puma takes the sockets of LISTEN_FDS whose address one of its binds has; "only" has it take them all, and bind nothing else. TERM
// drains it, for as long as that takes (5.6).
func (c *command) puma() {
	c.served(many)
	c.refuse([]rule{
		{[]string{"-b", "--bind", "-p", "--port"}, handsListener},
		{[]string{"-d", "--daemon"}, watches},
		{[]string{"--pidfile", "-S", "--state"}, "two generations run at once and would fight over the file; superctl status knows the pids"},
		{[]string{"--control-url"}, "two generations run at once and the second could not bind it; superctl stops and watches it by itself"},
	})
	if !c.has("--bind-to-activated-sockets") {
		c.add("--bind-to-activated-sockets", "only")
	}
	c.outside("--dir")
}

// node runs a program that listens as it likes: server.listen({fd: 3}), or what LISTEN_FDS says. TERM ends it at once, unless it
// handles it.
func (c *command) node() {
	if len(c.in.Listen) == 0 {
		return // a program without a listener is nothing unusual
	}
	c.served(many)
	for _, w := range c.words {
		if !strings.HasPrefix(w.text, "-") {
			break // the program; what follows is its own affair
		}
		if w.text == "--watch" || strings.HasPrefix(w.text, "--watch-path") {
			c.problem("node: take out %s: %s", w.text, switches)
		}
	}
}

// front tells of programs that start a server and stay in front of it.
func front(program string) (says string, found bool) {
	switch filepath.Base(program) {
	case "npm", "npx", "yarn", "pnpm":
		return "write what its script runs, such as node server.js", true
	case "pm2", "nodemon", "forever":
		return "write node server.js: superctl starts again what has died, and replaces code without losing a request", true
	case "pumactl":
		return "write puma", true
	}
	return "", false
}
