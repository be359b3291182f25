package servers

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
)

// gunicorn takes its listeners from LISTEN_FDS only: with -b fd://3 it unlinks the path of a unix socket when it exits
// (20.1 and 26.1, measured), and adds the descriptor a second time to those of LISTEN_FDS. TERM to the arbiter drains, QUIT
// and INT cut. All worker classes are alike in this.
func (c *command) gunicorn() {
	c.served(many)
	bound := len(c.words)
	c.gunicornElsewhere()
	own := c.words
	c.words = own[:bound]
	c.refuse([]rule{{[]string{"-b", "--bind"}, handsListener}})
	c.words = own
	for _, g := range c.all("--bind") {
		switch {
		case g.from == "":
		case strings.Contains(g.value, "fd://"):
			c.problem("%s: take out bind: with fd:// gunicorn unlinks the unix socket when it exits; superctl hands it the listener", g.from)
		default:
			c.warn("%s: bind is not used: superctl hands gunicorn the listener", g.from)
		}
	}
	c.refuse([]rule{
		{[]string{"-D", "--daemon"}, watches},
		{[]string{"--reload"}, switches},
		{[]string{"--reuse-port"}, "its workers would bind listeners of their own, past the gate"},
		// "Already running on PID ..." is how the second of two generations would end.
		{[]string{"-p", "--pid"}, pidFile},
		{[]string{"--certfile", "--keyfile"}, noTLS},
	})
	// From 25.0 on a fresh master kills the dirty arbiter that it finds in /tmp/gunicorn-dirty-NAME.pid: the live one's.
	for _, g := range c.all("--dirty-app") {
		c.problem("%s: take out %s: a new generation's master kills the live one's dirty workers", c.where(g), g.text)
	}
	c.graceful(c.beyond(), "--graceful-timeout")
	c.outside("--chdir", "--pythonpath")
	c.persistent(2*time.Second, "", "--keep-alive")
	// From 25.1 on it opens a control socket under one name for all generations, and each unlinks the others'.
	if v, ok := c.version("gunicorn"); ok && v.atLeast(25, 1) && !c.has("--no-control-socket") {
		c.add("--no-control-socket")
	}
	for _, g := range c.all("--protocol") {
		if g.value == "uwsgi" {
			c.out.Protocol = "uwsgi"
		}
	}
}

// gunicornElsewhere reads the options that are not in the command: GUNICORN_CMD_ARGS and the config file. The command's go
// before the variable's, and these before the file's.
func (c *command) gunicornElsewhere() {
	for _, kv := range c.in.Env {
		if args, ok := strings.CutPrefix(kv, "GUNICORN_CMD_ARGS="); ok {
			if words, err := shellquote.Split(args); err == nil {
				c.read("GUNICORN_CMD_ARGS", words)
			}
		}
	}
	if c.in.Release == "" {
		return
	}
	name := "gunicorn.conf.py" // its default, in the working directory
	if found := c.all("-c", "--config"); len(found) > 0 {
		name = strings.TrimPrefix(found[0].value, "file:")
	}
	if module, ok := strings.CutPrefix(name, "python:"); ok {
		name = strings.ReplaceAll(module, ".", "/") + ".py"
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.in.Release, name)
	}
	data, err := readSmall(path)
	if err != nil {
		return
	}
	c.out.Files = append(c.out.Files, path)
	c.words = append(c.words, settings(name, data, map[string]string{
		"bind": "--bind", "daemon": "--daemon", "reload": "--reload", "reuse_port": "--reuse-port", "pidfile": "--pid", "certfile": "--certfile",
		"keyfile": "--keyfile", "graceful_timeout": "--graceful-timeout", "chdir": "--chdir", "control_socket_disable": "--no-control-socket",
		"dirty_apps": "--dirty-app", "protocol": "--protocol", "keepalive": "--keep-alive",
	})...)
}

// setting is an assignment at the top level of a config that is Python or TOML.
var setting = regexp.MustCompile(`^([a-z_]+)\s*=\s*(.*?)\s*(#.*)?$`)

// settings are the assignments that matter here, as options. What a setting's expression comes to is not known unless it is
// a literal.
func settings(name, text string, options map[string]string) []word {
	var words []word
	n := 0
	for line := range strings.Lines(text) {
		n++
		m := setting.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil || options[m[1]] == "" || slices.Contains([]string{"False", "false", "None", "[]"}, m[2]) {
			continue
		}
		value := strings.Trim(m[2], `"'`)
		words = append(words, word{options[m[1]] + "=" + value, filepath.Base(name) + ":" + strconv.Itoa(n)})
	}
	return words
}

// smallFile is how large a config file of a server is at most.
const smallFile = 256 << 10

// readSmall reads a regular file. A release may hold anything.
func readSmall(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > smallFile {
		return "", os.ErrInvalid
	}
	data, err := os.ReadFile(path)
	return string(data), err
}
