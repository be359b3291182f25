package servers

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hypercorn takes descriptors with --bind. TERM drains it, within 3 seconds by default (0.18). It
// exits with code 0 even if the app cannot be imported.
func (c *command) hypercorn() {
	c.served(many)
	c.out.HideListen = len(c.in.Listen) > 0
	own := c.words
	c.hypercornFile()
	c.refuse([]rule{
		{[]string{"--insecure-bind", "--quic-bind"}, "it would bind an address of its own, past the gate"},
		{[]string{"-D", "--daemon"}, detachesItself},
		{[]string{"--reload"}, reloadsItself},
		{
			[]string{"-p", "--pid"},
			"two generations run at once and would fight over the file; superctl status knows the pids",
		},
		{[]string{"--certfile", "--keyfile"}, noTLS},
	})
	c.hypercornWorkers()
	c.persistent(5*time.Second, "", "--keep-alive")
	c.words = own // the command's options have precedence over the file's
	served := make([]bool, len(c.in.Listen))
	binds := c.all("-b", "--bind")
	for _, g := range binds {
		i := c.listenerOf(strings.TrimPrefix(g.value, "fd://"))
		if i < 0 || !strings.HasPrefix(g.value, "fd://") {
			c.problem("hypercorn: take out %s %s: %s", g.option, g.value, passesListener)
			continue
		}
		served[i] = true
	}
	for i, name := range c.in.Listen {
		switch {
		case served[i]:
		case len(binds) == 0:
			c.add("--bind", "fd://"+strconv.Itoa(firstFD+i))
		case len(c.out.Problems) == 0:
			c.problem("hypercorn: nothing serves listener %q, so its connections would wait for ever: write --bind "+
				"fd://{fd.%s} too, or take out --bind", name, name)
		}
	}
	c.drainLimit(c.drainBelow(), "--graceful-timeout")
}

// hypercornWorkers refuses more than one worker: from 0.16 hypercorn ends all workers when the
// first has finished (0.18, measured: requests of the others are aborted).
func (c *command) hypercornWorkers() {
	if v, ok := c.version("hypercorn"); ok && !v.atLeast(0, 16) {
		return
	}
	for _, g := range c.all("-w", "--workers") {
		if n, err := strconv.Atoi(g.value); err == nil && n > 1 {
			c.problem("%s: take out %s %s: at its end the first worker that has finished makes hypercorn kill the "+
				"others, with their requests; write instances = %d in the config instead",
				c.where(g), g.option, g.value, n)
		}
	}
}

// hypercornFile reads the options of its config, which is TOML or Python.
func (c *command) hypercornFile() {
	for _, g := range c.all("-c", "--config") {
		path := strings.TrimPrefix(g.value, "file:")
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.in.Release, path)
		}
		if data, err := ReadConfig(path); err == nil && filepath.IsAbs(path) {
			c.out.Files = append(c.out.Files, path)
			c.words = append(c.words, settings(path, data, map[string]string{
				"insecure_bind": "--insecure-bind", "quic_bind": "--quic-bind", "use_reloader": "--reload",
				"pid_path": "--pid", "certfile": "--certfile", "keyfile": "--keyfile", "workers": "--workers",
				"keep_alive_timeout": "--keep-alive",
			})...)
		}
	}
}
