package servers

import (
	"path/filepath"
	"slices"
	"strings"
)

// detacher is a program that leaves another program, or itself, running in the background and
// exits.
type detacher struct {
	program string
	options []string // options that make it detach; none = it always does
	unless  []string // options that keep it in the foreground
	write   string
}

const background = "superctl watches the process that it starts, and this one ends at once"

// nohup does not go into the background itself, but people write it for programs that do.
const nohup = "nohup"

var detachers = []detacher{ //nolint:gochecknoglobals // a table
	{nohup, nil, nil, "take out nohup: superctl gives no worker a terminal that could hang up, and nohup makes the program " +
		"ignore superctl signal HUP"},
	{"setsid", nil, []string{"-w", "--wait"}, "take out setsid: superctl gives each worker a process group"},
	{"daemonize", nil, nil, "write the program that it starts"},
	{"daemon", nil, []string{"-f", "--foreground"}, "write the program that it starts"},
	{"start-stop-daemon", []string{"-b", "--background"}, nil, "write the program that it starts"},
	{"supervisord", nil, []string{"-n", "--nodaemon"}, "give each of its programs a [process.NAME] of its own"},
	{"circusd", []string{"--daemon"}, nil, "give each of its watchers a [process.NAME] of its own"},
	{"twistd", nil, []string{"-n", "--nodaemon", "-no"}, "add --nodaemon"},
	{"tmux", []string{"-d"}, nil, "write the program that it starts"},
	{"screen", []string{"-d", "-dm", "-dmS"}, nil, "write the program that it starts"},
	{"systemctl", nil, nil, "write what the unit's ExecStart= runs"},
	{"service", nil, nil, "write what the service runs"},
	{"systemd-run", nil, []string{"--scope"}, "write the program that it starts"},
	{"docker", []string{"-d", "--detach"}, nil, "take out -d"},
	{"podman", []string{"-d", "--detach"}, nil, "take out -d"},
	{"redis-server", []string{"--daemonize"}, nil, "take out --daemonize"},
	{"memcached", []string{"-d"}, nil, "take out -d"},
	{"airflow", []string{"-D", "--daemon"}, nil, "take out the option"},
	{"luigid", []string{"--background"}, nil, "take out --background"},
	{"sidekiq", []string{"-d", "--daemon"}, nil, "take out the option"},
	{"gunicorn", []string{"-D", "--daemon"}, nil, "take out the option"},
	{"hypercorn", []string{"-D", "--daemon"}, nil, "take out the option"},
	{"uwsgi", []string{"-d", "--daemonize", "--daemonize2"}, nil, "take out the option"},
	{"puma", []string{"-d", "--daemon"}, nil, "take out the option"},
}

// detaches refuses a command that exits while a program that it started runs on: the release would
// be live without a process that superctl can watch.
func (c *command) detaches() {
	c.detachesWords(c.in.Command, false)
	script, ok, err := scriptOf(c.in.Command)
	switch {
	case err != nil:
		c.warn("the shell's script cannot be checked, and the shell may not understand it either: %v", err)
	case !ok:
	case script.leaves:
		c.problem("the shell's script ends while its last command goes on in the background: take out &: %s",
			background)
	}
	for _, words := range script.commands {
		c.detachesWords(words, true)
	}
}

// detachesWords refuses a simple command. inScript tells that the preset of a server does not check
// its options.
func (c *command) detachesWords(words []string, inScript bool) {
	for i, word := range words {
		if !startsProgram(words, i) {
			continue
		}
		name := filepath.Base(word)
		for _, d := range detachers {
			if d.program != name || !inScript && c.out.Server == name {
				continue // the server's own preset checks its options
			}
			if option, ok := d.detaches(words[i+1:]); ok {
				text := d.write
				if name != nohup {
					text += ": " + background
				}
				c.problem("%s: %s", strings.TrimSpace(name+" "+option), text)
			}
		}
	}
}

// programPrefixes are words that the name of another program follows.
var programPrefixes = []string{ //nolint:gochecknoglobals // a table
	"env", "exec", "nice", "ionice", nohup, "setsid", "sudo", "time", "command",
}

// startsProgram reports whether the word at i of a simple command is a program's name.
func startsProgram(words []string, i int) bool {
	if i == 0 {
		return true
	}
	last := words[i-1]
	name := filepath.Base(last)
	switch {
	case slices.Contains(programPrefixes, name):
		return true
	case strings.HasPrefix(name, "python"):
		return startsProgram(words, i-1)
	case strings.Contains(last, "=") && !strings.HasPrefix(last, "-"): // an environment variable
		return startsProgram(words, i-1)
	}
	return false
}

// detaches reports whether the program detaches with these arguments, and by which option.
func (d detacher) detaches(args []string) (option string, ok bool) {
	given := func(options []string) string {
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			if slices.Contains(options, name) && value != "no" && value != "false" {
				return name
			}
		}
		return ""
	}
	if given(d.unless) != "" {
		return "", false
	}
	if len(d.options) == 0 {
		return "", true
	}
	option = given(d.options)
	return option, option != ""
}

func isShell(word string) bool {
	return slices.Contains([]string{"sh", "bash", "dash", "zsh", "ksh"}, filepath.Base(word))
}

// pidFiles refuses pid files, which keep the second of two generations from starting.
func (c *command) pidFiles(program string, args *command, options ...string) {
	for _, g := range args.all(options...) {
		if g.value == "" {
			continue // no file: Celery 4 needs that, because its default is a file in the working directory
		}
		c.problem("%s: take out %s: %s, and after a crash such a file can keep it from starting", program, g.text,
			pidFile)
	}
}
