package preset

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// firstFD is the descriptor of a process's first listener.
const firstFD = 3

// gunicorn takes its listeners from LISTEN_FDS only: with -b fd://3 it unlinks the path of a unix socket when it exits
// (20.1 and 26.1, measured), and a second bind would be an address that nobody steers.
func (c *command) gunicorn() {
	c.refuse(map[string]string{
		"-b --bind":    "it gets its listener from superctl",
		"-D --daemon":  "superctl watches the process that it has started",
		"--reload":     "superctl switch and superctl reload do that without losing a request",
		"--reuse-port": "its workers would bind listeners of their own, past the gate",
		"-p --pid":     "two generations run at once and would fight over the file; superctl status knows the pids",
	})
	c.graceful("--graceful-timeout")
	// From 25.1 on it opens a control socket under one name for all generations, and leaves it behind when it is killed.
	if major, minor, ok := c.version("gunicorn"); ok && (major > 25 || major == 25 && minor >= 1) {
		c.add("--no-control-socket")
	}
}

// uwsgi gets its sockets by option. A plain SIGTERM means "reload brutally" to it unless a hook says otherwise; the hook
// makes it finish what it has (measured on 2.0.21).
func (c *command) uwsgi() {
	c.out.HideListen = len(c.in.Listen) > 0 // with LISTEN_FDS as well it would attach the same socket twice
	c.refuse(map[string]string{
		"--die-on-term":      "it would cut requests that are in progress",
		"--shutdown-sockets": "it would shut the listener for the other generation too",
		"--daemonize":        "superctl watches the process that it has started",
		"--daemonize2":       "superctl watches the process that it has started",
		"--pidfile":          "two generations run at once and would fight over the file; superctl status knows the pids",
		"--touch-reload":     "superctl switch and superctl reload do that without losing a request",
	})
	own, ours := "", false
	for _, option := range []string{"--http-socket", "--http11-socket", "--socket", "--uwsgi-socket", "-s"} {
		if value, given := c.value(option); given {
			own = option
			ours = ours || strings.HasPrefix(value, "fd://")
		}
	}
	switch {
	case len(c.in.Listen) == 0:
	case own == "":
		own = "--http-socket"
		for i := range c.in.Listen {
			c.out.Command = append(c.out.Command, own, "fd://"+strconv.Itoa(firstFD+i))
		}
	case !ours:
		c.problem("uwsgi: write %s fd://{fd.%s}: it must use the listener that superctl holds", own, c.in.Listen[0])
	}
	if own == "--socket" || own == "--uwsgi-socket" || own == "-s" {
		c.out.Protocol = "uwsgi"
	}
	if own == "--http-socket" && !c.has("--add-header") {
		// http-socket answers HTTP/1.1, does not say that it closes, and closes: clients meet resets even in steady state.
		c.out.Command = append(c.out.Command, "--add-header", "Connection: close")
	}
	if own == "--http11-socket" {
		c.warn("uwsgi: --http11-socket keeps connections open, and an idle one is cut when a generation ends; --http-socket does not")
	}
	if !c.has("--hook-master-start") {
		c.out.Command = append(c.out.Command, "--hook-master-start", "unix_signal:15 gracefully_kill_them_all")
	}
	c.add("--master")
	c.add("--need-app") // without it a failed import serves 500 for ever
	if !c.has("--reload-mercy", "--worker-reload-mercy") {
		c.out.Command = append(c.out.Command, "--worker-reload-mercy", fmt.Sprint(c.seconds()))
	}
}

// uvicorn knows no LISTEN_FDS and takes one descriptor.
func (c *command) uvicorn() {
	c.out.HideListen = len(c.in.Listen) > 0
	c.refuse(map[string]string{
		"--host":   "it gets its listener from superctl",
		"--port":   "it gets its listener from superctl",
		"--uds":    "it gets its listener from superctl",
		"--reload": "superctl switch and superctl reload do that without losing a request",
	})
	if len(c.in.Listen) > 1 {
		c.problem("uvicorn takes one listener, and this process has %d: give each its own process", len(c.in.Listen))
	}
	if len(c.in.Listen) > 0 {
		c.add("--fd", strconv.Itoa(firstFD))
	}
	c.graceful("--timeout-graceful-shutdown")
}

// version reads a package's version from the release's virtualenv.
func (c *command) version(name string) (major, minor int, ok bool) {
	if c.in.Release == "" {
		return 0, 0, false
	}
	for _, venv := range []string{"venv", ".venv"} {
		for _, dir := range sitePackages(filepath.Join(c.in.Release, venv)) {
			found, _ := filepath.Glob(filepath.Join(dir, name+"-*.dist-info"))
			for _, info := range found {
				text := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(info), name+"-"), ".dist-info")
				if n, _ := fmt.Sscanf(text, "%d.%d", &major, &minor); n == 2 {
					return major, minor, true
				}
			}
		}
	}
	return 0, 0, false
}
