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

// gunicorn gets its listeners by LISTEN_FDS only. With -b fd://3 it unlinks the path of a unix
// socket when it exits (20.1 and 26.1, measured), and adds the descriptor a second time to those of
// LISTEN_FDS. TERM to the arbiter drains it; QUIT and INT abort requests. All worker classes behave
// alike.
func (c *command) gunicorn() {
	c.served(many)
	c.refuse([]rule{{[]string{"-b", "--bind"}, passesListener}})
	c.gunicornElsewhere()
	c.gunicornBind()
	c.refuse([]rule{
		{[]string{"-D", "--daemon"}, detachesItself},
		{[]string{"--reload"}, reloadsItself},
		{[]string{"--reuse-port"}, "its workers would bind listeners of their own, past the gate"},
		// The second of two generations would end with "Already running on PID ...".
		{[]string{"-p", "--pid"}, pidFile},
		{[]string{"--certfile", "--keyfile"}, noTLS},
	})
	// From 25.0 a new master kills the dirty arbiter named in /tmp/gunicorn-dirty-NAME.pid: that of
	// the live generation.
	for _, g := range c.all("--dirty-app") {
		c.problem("%s: take out %s: a new generation's master kills the live one's dirty workers", c.where(g), g.text)
	}
	c.drainLimit(c.drainAbove(), "--graceful-timeout")
	c.outside("--chdir", "--pythonpath")
	c.persistent(2*time.Second, "", "--keep-alive")
	// From 25.1 it opens a control socket of the same name in all generations, and each unlinks the
	// previous one.
	if v, ok := c.version("gunicorn"); ok && v.atLeast(25, 1) && !c.has("--no-control-socket") {
		c.add("--no-control-socket")
	}
	for _, g := range c.all("--protocol") {
		if g.value == "uwsgi" {
			c.out.Protocol = "uwsgi"
		}
	}
}

// gunicornBind reports addresses that are configured outside the command. LISTEN_FDS has precedence.
func (c *command) gunicornBind() {
	for _, g := range c.all("--bind") {
		switch {
		case g.from == "":
		case strings.Contains(g.value, "fd://"):
			c.problem("%s: take out bind: with fd:// gunicorn unlinks the unix socket when it exits; superctl hands "+
				"it the listener", g.from)
		default:
			c.warn("%s: bind is not used: superctl hands gunicorn the listener", g.from)
		}
	}
}

// gunicornElsewhere reads the options outside the command: GUNICORN_CMD_ARGS and the config file.
// The command has precedence over the variable, and the variable over the file.
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
	name := "gunicorn.conf.py" // the default, in the working directory
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
	data, err := ReadConfig(path)
	if err != nil {
		return
	}
	c.out.Files = append(c.out.Files, path)
	c.words = append(c.words, settings(name, data, map[string]string{
		"bind": "--bind", "daemon": "--daemon", "reload": "--reload", "reuse_port": "--reuse-port", "pidfile": "--pid",
		"certfile": "--certfile",
		"keyfile":  "--keyfile", "graceful_timeout": "--graceful-timeout", "chdir": "--chdir",
		"control_socket_disable": "--no-control-socket",
		"dirty_apps":             "--dirty-app", "protocol": "--protocol", "keepalive": "--keep-alive",
		"worker_class": "--worker-class", "threads": "--threads",
	})...)
}

// setting matches an assignment at the top level of a Python or TOML config.
var setting = regexp.MustCompile(`^([a-z_]+)\s*=\s*(.*?)\s*(#.*)?$`)

// settings returns the relevant assignments as options. The value of an expression is known only if
// it is a literal.
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
		words = append(words, word{text: options[m[1]] + "=" + value, from: filepath.Base(name) + ":" + strconv.Itoa(n)})
	}
	return words
}

// smallFile is the maximum size of a server's config file in bytes.
const smallFile = 256 << 10

// ReadConfig reads a config file of a release: a regular file of at most 256 KiB. A release may contain
// anything.
func ReadConfig(path string) (string, error) {
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
