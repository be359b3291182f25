package servers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gracefulHook makes TERM drain. By default TERM means "reload brutally" to uWSGI (2.0.21 and
// 2.0.31, measured).
const gracefulHook = "unix_signal:15 gracefully_kill_them_all"

// uwsgi gets its sockets by option. With LISTEN_FDS it would also attach them a second time.
func (c *command) uwsgi() {
	c.served(many)
	c.out.HideListen = len(c.in.Listen) > 0
	c.environment("UWSGI_", uwsgiNumbers()...)
	c.uwsgiFiles()
	c.refuse(uwsgiRefused())
	uwsgiProcesses(c)
	c.uwsgiTimers()
	c.uwsgiStats()
	c.uwsgiSockets()
	c.uwsgiStop()
	c.outside("--chdir", "--pythonpath", "--python-path", "--pp")
}

// uwsgiRefused returns the options that would defeat a switch.
func uwsgiRefused() []rule {
	return []rule{
		{[]string{"--die-on-term"}, "it would cut requests that are in progress (measured: 51 in 20 reloads)"},
		{[]string{"--shutdown-sockets"}, "it would shut the listener for the other generation too"},
		{[]string{"-d", "--daemonize", "--daemonize2"}, detachesItself},
		{
			[]string{"--pidfile", "--pidfile2", "--safe-pidfile", "--safe-pidfile2"},
			"two generations run at once and would fight over the file; superctl status knows the pids",
		},
		{[]string{
			"--touch-reload", "--touch-chain-reload", "--touch-workers-reload", "--fs-reload", "--py-auto-reload",
			"--py-autoreload",
		}, reloadsItself},
		{[]string{"--reuse-port"}, "it would bind a listener of its own, past the gate"},
		{[]string{"--emperor"}, "superctl takes the place of the emperor: give each vassal a process of its own"},
		{
			[]string{"--http", "--https"},
			"its router binds an address of its own, past the gate; --http-socket serves HTTP on superctl's listener",
		},
		{[]string{"--https-socket", "--suwsgi-socket"}, noTLS},
		{
			[]string{"--fastcgi-socket", "--scgi-socket", "--puwsgi-socket"},
			"superctl can check http and uwsgi sockets only",
		},
	}
}

// uwsgiNumbers returns the options for the number of processes: off is 0, and not the default.
func uwsgiNumbers() []string { return []string{"--processes", "--workers"} }

// uwsgiProcesses refuses a number of processes that uWSGI takes for 0.
func uwsgiProcesses(c *command) {
	for _, g := range c.all(append(uwsgiNumbers(), "-p")...) {
		if g.text == g.option && g.value == "" || strings.ContainsAny(g.value, "%$@") {
			continue // uWSGI says that the value is missing, or it may expand to a number
		}
		// 2.0.30, measured: with "two", "" and "off" its master starts no worker, and requests wait.
		if n, err := strconv.Atoi(g.value); err != nil || n < 1 {
			c.problem("%s: %s: write a number of 1 or more: with 0 uWSGI starts no worker, and it takes a word or nothing for 0",
				c.where(g), strings.TrimSpace(g.option+" "+g.value))
		}
	}
}

// uwsgiTimers warns about jobs that two generations would run at once.
func (c *command) uwsgiTimers() {
	if c.in.Single {
		return
	}
	for _, g := range c.all("--cron", "--cron2", "--timer", "--rb-timer") {
		c.warn(`uwsgi: %s runs in each release: its jobs start twice for as long as the old release drains or is on `+
			`standby; give them a process of their own, with strategy = "single"`, g.text)
	}
}

// uwsgiStats reports the address of a stats server, and refuses one that two generations cannot share.
func (c *command) uwsgiStats() {
	for _, g := range c.all("--stats", "--stats-server") {
		// 2.0.31, measured: "bind(): Address already in use", exit code 1.
		if _, err := strconv.Atoi(g.value[strings.LastIndexByte(g.value, ':')+1:]); err == nil {
			c.problem("%s: %s %s: two generations run at once and the second could not bind it; use a unix socket, "+
				"or take it out", c.where(g), g.option, g.value)
			continue
		}
		c.addOwnSocket(g.value)
	}
}

// uwsgiStop adds the options that make the server drain.
func (c *command) uwsgiStop() {
	if !slices.ContainsFunc(c.all("--hook-master-start"),
		func(g given) bool { return strings.Contains(g.value, "unix_signal:15") }) {
		c.add("--hook-master-start", gracefulHook) // the user's other hooks still run
	}
	if !c.has("--master", "-M") {
		c.add("--master")
	}
	if !c.has("--need-app") {
		c.add("--need-app") // without it a failed import serves 500 forever
	}
	for _, g := range c.all("--lazy-apps", "--lazy") {
		// 2.0.31, measured: it logs "graceful shutdown triggered", and keeps running.
		c.warn("%s: with %s a worker that is still importing the app does not hear the stop signal, and ends only "+
			"when drain is over: take it out, unless the app must not be imported before the fork", c.where(g), g.text)
	}
	c.drainLimit(c.drainAbove(), "--worker-reload-mercy", "--reload-mercy")
	// A worker that waits for its client to read gets the signal instead, and takes it for a
	// disconnect: "OSError: write error" (2.0.31, measured). With http11-socket, waiting for
	// workers would mean waiting for kept connections.
	c.out.Cuts = len(c.all(http11Socket)) == 0
}

// uwsgiSocket is a socket option and its protocol.
type uwsgiSocket struct{ option, protocol string }

// http11Socket is the option of a socket that keeps connections open.
const http11Socket = "--http11-socket"

func uwsgiSocketOptions() []uwsgiSocket {
	return []uwsgiSocket{
		{"--http-socket", "http"},
		{http11Socket, "http"},
		{"--uwsgi-socket", "uwsgi"},
		{"--socket", ""}, // the protocol of --protocol, by default uwsgi
		{"-s", ""},
	}
}

// uwsgiSockets makes sure that one socket serves each listener, and that there is no other socket.
func (c *command) uwsgiSockets() {
	served, given, http := c.uwsgiGiven()
	if len(c.in.Listen) == 0 {
		return
	}
	if !given {
		http = true
		for i := range served {
			served[i] = "http"
			c.add("--http-socket", "fd://"+strconv.Itoa(firstFD+i))
		}
	}
	for i, protocol := range served {
		if protocol == "" && len(c.out.Problems) == 0 {
			c.problem("uwsgi: nothing serves listener %q, so its connections would wait for ever: write "+
				"--http-socket fd://{fd.%s} (--socket behind a proxy with uwsgi_pass)", c.in.Listen[i], c.in.Listen[i])
		}
	}
	if served[0] == "uwsgi" {
		c.out.Protocol = "uwsgi" // the health check asks the first listener
	}
	if http {
		c.uwsgiClose()
	}
}

// uwsgiGiven returns the protocol of each listener that a socket option of the command serves,
// whether there is such an option, and whether one serves HTTP without keeping connections open.
func (c *command) uwsgiGiven() (served []string, given, http bool) {
	served = make([]string, len(c.in.Listen))
	for _, o := range uwsgiSocketOptions() {
		for _, g := range c.all(o.option) {
			given = true
			i := c.uwsgiSocket(g)
			if i < 0 {
				continue
			}
			served[i] = o.protocol
			if o.protocol == "" {
				served[i] = c.defaultProtocol()
			}
			if o.option == http11Socket {
				c.warn("%s: --http11-socket keeps connections open and an idle one is cut when a generation ends "+
					"(measured: 100 requests in 20 reloads); --http-socket loses none", c.where(g))
				continue
			}
			http = http || served[i] == "http"
		}
	}
	return served, given, http
}

// uwsgiClose makes the server announce that it closes a connection. http-socket answers with
// HTTP/1.1, and closes the connection after each answer: clients meet resets even without a reload
// (measured: 139 failures in 20 reloads, 0 with the header).
func (c *command) uwsgiClose() {
	announced := slices.ContainsFunc(c.all("--add-header"), func(g given) bool {
		return strings.HasPrefix(strings.ToLower(g.value), "connection:")
	})
	if !announced {
		c.add("--add-header", "Connection: close")
	}
}

// uwsgiSocket returns the index of the listener that a socket option serves, or adds a problem and
// returns -1.
func (c *command) uwsgiSocket(g given) int {
	if len(c.in.Listen) == 0 {
		return -1
	}
	fd, inherited := strings.CutPrefix(g.value, "fd://")
	write := fmt.Sprintf("fd://{fd.%s}", c.in.Listen[0])
	if g.from != "" {
		write = fmt.Sprintf("fd://%d", firstFD) // {fd.NAME} is replaced in the command only
	}
	i := c.listenerOf(fd)
	switch {
	case !inherited:
		c.problem("%s: write %s %s instead of %s: superctl holds the listener", c.where(g), g.option, write, g.value)
	case g.from != "" && strings.Contains(fd, "{"):
		c.problem("%s: write %s: {fd.NAME} is replaced in the command only", c.where(g), write)
		return -1
	case i < 0:
		c.problem("%s: %s %s is not a listener of this process; it has %s", c.where(g), g.option, g.value,
			c.descriptors())
	default:
		return i
	}
	return -1
}

func (c *command) defaultProtocol() string {
	for _, g := range c.all("--protocol", "--socket-protocol") {
		if g.value == "http" {
			return "http"
		}
	}
	return "uwsgi"
}
