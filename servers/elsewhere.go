package servers

import (
	"path/filepath"
	"strings"
)

// puma takes the sockets of LISTEN_FDS whose address is one of its binds; "only" makes it take all
// of them and bind no other. TERM drains it, without a time limit (5.6).
func (c *command) puma() {
	c.served(many)
	c.refuse([]rule{
		{[]string{"-b", "--bind", "-p", "--port"}, passesListener},
		{[]string{"-d", "--daemon"}, detachesItself},
		{
			[]string{"--pidfile", "-S", "--state"},
			"two generations run at once and would fight over the file; superctl status knows the pids",
		},
		{
			[]string{"--control-url"},
			"two generations run at once and the second could not bind it; superctl stops and watches it by itself",
		},
	})
	if !c.has("--bind-to-activated-sockets") {
		c.add("--bind-to-activated-sockets", "only")
	}
	c.outside("--dir")
}

// node runs a program that opens its own listeners: server.listen({fd: 3}), or those of LISTEN_FDS.
// TERM ends it at once unless the program handles it.
func (c *command) node() {
	if len(c.in.Listen) == 0 {
		return // a program without a listener is common
	}
	c.served(many)
	for _, w := range c.words {
		if !strings.HasPrefix(w.text, "-") {
			break // the program; the words after it are its own options
		}
		if w.text == "--watch" || strings.HasPrefix(w.text, "--watch-path") {
			c.problem("node: take out %s: %s", w.text, reloadsItself)
		}
	}
}

// launcherHint returns what to write instead of a program that starts a server and keeps running as
// its parent.
func launcherHint(program string) (says string, found bool) {
	switch filepath.Base(program) {
	case "npm", "npx", "yarn", "pnpm":
		return "write what its script runs, such as node server.js", true
	case "pm2", "nodemon", "forever":
		return "write node server.js: superctl starts again what has died, and replaces code without losing a " +
			"request", true
	case "pumactl":
		return "write puma", true
	}
	return "", false
}
