package preset

import (
	"path/filepath"
	"strings"
)

// forks are programs that stay in front of the one that they start, so that the server is not the process that superctl
// started: LISTEN_PID names another pid, and a server that goes by it (gunicorn) silently binds its own default address
// (measured: 127.0.0.1:8000). `env`, `nice`, `poetry run`, `newrelic-admin run-program`, `ddtrace-run` and their like
// execute the server in their own place, and are fine.
var forks = map[string]string{ //nolint:gochecknoglobals // a table
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

// wrapper looks at what stands before the server's name.
func (c *command) wrapper() {
	for _, word := range c.in.Command[:c.program] {
		name := filepath.Base(word)
		says, ok := forks[name]
		switch {
		case !ok:
		case name == "strace" && hasWord(c.in.Command[:c.program], "-D"):
		case c.out.Server == "gunicorn":
			c.problem("%s stays in front of gunicorn, which then does not find its listener and binds 127.0.0.1:8000: %s", name, says)
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

// generic looks for what a command of no known server must not be.
func (c *command) generic() {
	if len(c.in.Command) == 0 {
		return
	}
	switch filepath.Base(c.in.Command[0]) {
	case "sh", "bash", "dash", "zsh", "ksh":
		c.shell()
		return
	}
	c.celery()
	if len(c.in.Listen) == 0 || c.in.Server == "generic" {
		return
	}
	for i, word := range c.in.Command[:min(wrapWords, len(c.in.Command))] {
		if says, bad := deaf(filepath.Base(word), strings.Join(c.in.Command[i+1:], " "), c.in.Listen[0]); bad {
			c.problem("%s", says)
			return
		}
	}
}

// deaf tells of servers that would not find the listener of name, and what to write instead.
func deaf(program, args, name string) (string, bool) {
	has := strings.Contains(args, "{fd.") || strings.Contains(args, "fd://") || strings.Contains(args, "--fd") || strings.Contains(args, "systemd:")
	switch program {
	case "hypercorn":
		return "hypercorn does not go by LISTEN_FDS: write --bind fd://{fd." + name + "}, and --graceful-timeout with the seconds of drain, as its own limit is 3", !has
	case "daphne":
		return "daphne does not go by LISTEN_FDS: write --fd {fd." + name + "}, or for a unix socket -e systemd:domain=UNIX:index=0", !has
	case "granian", "waitress-serve":
		return program + " cannot take a listener that superctl holds, so it would bind past the gate: run the app with gunicorn, uWSGI or uvicorn", !has
	case "runserver":
		return "runserver is Django's server for development: it binds an address of its own and restarts itself; run the app with gunicorn, uWSGI or uvicorn", !has
	}
	return "", false
}

// shell looks into `sh -c '...'` for a server: superctl adds nothing to a script, and a shell that stays in front of the
// server takes its signals.
func (c *command) shell() {
	for i, word := range c.in.Command {
		if i == 0 || strings.HasPrefix(word, "-") {
			continue
		}
		words := strings.Fields(word)
		at := find(words)
		switch {
		case at < 0:
		case c.in.Server == "generic" && at > 0 && words[at-1] == "exec":
		case hasWord(words[:at], "exec"):
			c.warn("%s is started by a shell, so superctl neither completes nor checks its options: write it without the shell", serverOf(words[at]))
		default:
			c.problem("a shell stays in front of %s, which then does not find its listener: write the command without the shell, or `exec` before %s", serverOf(words[at]), words[at])
		}
		return
	}
}
