package servers

import (
	"path/filepath"
	"slices"
	"strings"
)

// forkingWrappers are programs that keep running as the parent of the program that they start, so
// that the server is not the process that superctl started. LISTEN_PID then names another pid, and
// a server that checks it (gunicorn) silently binds its default address (measured: 127.0.0.1:8000).
// `env`, `nice`, `poetry run`, `newrelic-admin run-program`, `ddtrace-run` and the like exec the
// server, which is fine.
var forkingWrappers = map[string]string{ //nolint:gochecknoglobals // a table
	"uv":        "name the release's own program instead: its venv/bin is first in PATH",
	"hatch":     "name the release's own program instead: its venv/bin is first in PATH",
	"sudo":      "take it out, and set user in the config",
	"su":        "take it out, and set user in the config",
	"runuser":   "take it out, and set user in the config",
	"tini":      "take it out: superctl reaps orphans itself",
	"dumb-init": "take it out: superctl reaps orphans itself",
	"timeout":   "take it out: superctl has limits of its own, start_timeout and drain",
	"time":      "take it out",
	"setsid":    "take it out: superctl gives each worker a process group",
	"strace":    "run it with -D, which keeps the server's pid",
	"watchmedo": "take it out: superctl switch and superctl reload replace code without losing a request",
}

// wrappers checks the programs in front of the server's name.
func (c *command) wrappers() {
	for _, word := range c.in.Command[:c.program] {
		name := filepath.Base(word)
		says, ok := forkingWrappers[name]
		switch {
		case !ok:
		case name == "strace" && hasWord(c.in.Command[:c.program], "-D"):
		case c.out.Server == "gunicorn":
			c.problem(
				"%s stays in front of gunicorn, which then does not find its listener and binds 127.0.0.1:8000: %s",
				name, says)
		case c.out.Server == "puma", c.out.Server == "daphne":
			c.problem("%s stays in front of %s, which then does not find its listener: %s", name, c.out.Server, says)
		default:
			c.warn("%s stays in front of %s, so signals and the pid are not the server's: %s", name, c.out.Server, says)
		}
	}
}

func hasWord(words []string, want string) bool {
	for _, w := range words {
		if w == want {
			return true
		}
	}
	return false
}

// generic checks a command without a known server.
func (c *command) generic() {
	if len(c.in.Command) == 0 {
		return
	}
	if isShell(c.in.Command[0]) {
		c.shell()
		return
	}
	if signal := c.taskQueue(c.in.Command); signal != 0 {
		c.out.StopSignal = signal
	}
	c.celery(c.in.Command)
	c.scheduler()
	if len(c.in.Listen) == 0 || c.in.Server == generic {
		return
	}
	if says, found := launcherHint(c.in.Command[0]); found {
		c.problem("%s stays in front of the server, so that superctl signals and watches the wrong process: %s",
			filepath.Base(c.in.Command[0]), says)
		return
	}
	head := c.in.Command[:min(wrapWords, len(c.in.Command))]
	for _, word := range head {
		if word == "runserver" {
			c.problem("runserver is Django's server for development: it binds an address of its own and restarts "+
				"itself; run the app with one of %s", strings.Join(PythonServers(), ", "))
			return
		}
	}
	if says := TakesNone(head); says != "" {
		c.problem("%s", says)
	}
}

// PythonServers returns the servers that run a Python application.
func PythonServers() []string {
	return slices.DeleteFunc(Servers(), func(s string) bool { return s == generic || s == "node" || s == "puma" })
}

// shell looks for a server in `sh -c '...'`: superctl adds no options to a script, and a shell that
// stays in front of the server gets its signals.
func (c *command) shell() {
	script, _, _ := scriptOf(c.in.Command) // detaches reports the error
	for _, words := range script.commands {
		c.celery(words)
		c.taskQueue(words)
	}
	for _, words := range script.commands {
		at := find(words)
		if at < 0 {
			continue
		}
		server := serverOf(words[at])
		executed := hasWord(words[:at], "exec")
		switch {
		case c.in.Server == generic && at > 0 && words[at-1] == "exec":
		case executed && slices.Contains([]string{"granian", "waitress", "daphne"}, server):
			c.problem("%s is started by a shell, so superctl cannot hand it its listener: write it without the shell",
				server)
		case executed:
			c.warn("%s is started by a shell, so superctl neither completes nor checks its options: write it "+
				"without the shell", server)
		default:
			c.problem("a shell stays in front of %s, which then does not find its listener: write the command "+
				"without the shell, or `exec` before %s", server, words[at])
		}
		return
	}
}
