package preset

import (
	"fmt"
	"strings"
	"time"
)

// uvicorn knows no LISTEN_FDS and takes one descriptor. TERM drains it, one process or several; without a limit it waits for
// as long as a client keeps a request open. From 0.29 on it ends by the signal itself, which is a clean end.
func (c *command) uvicorn() {
	c.out.HideListen = len(c.in.Listen) > 0
	hands := "superctl hands it the listener (listen, and its address in [listen.NAME])"
	c.refuse([]rule{
		{[]string{"--host"}, hands},
		{[]string{"--port"}, hands},
		{[]string{"--uds"}, hands},
		{[]string{"--reload"}, "superctl switch and superctl reload replace code without losing a request"},
		{[]string{"--ssl-keyfile", "--ssl-certfile"}, "superctl's health check does not speak TLS; end it in the proxy in front"},
	})
	if len(c.in.Listen) > 1 {
		c.problem("uvicorn takes one listener, and this process has %d (%s): write a process for each", len(c.in.Listen), strings.Join(c.in.Listen, ", "))
	}
	fds := c.all("--fd")
	for _, g := range fds {
		if i := c.listenerOf(g.value); i < 0 && len(c.in.Listen) > 0 {
			c.problem("uvicorn: --fd %s is no listener of this process: write --fd %s, or take it out", g.value, c.descriptors())
		}
	}
	if len(fds) == 0 && len(c.in.Listen) > 0 {
		c.add("--fd", fmt.Sprint(firstFD))
	}
	// The option is there since 0.22, and an older one ends with "no such option".
	if v, ok := c.version("uvicorn"); !ok || v.atLeast(0, 22) || c.has("--timeout-graceful-shutdown") {
		c.graceful(c.seconds(), "--timeout-graceful-shutdown")
	}
	c.outside("--app-dir")
	c.persistent(5*time.Second, "UVICORN_TIMEOUT_KEEP_ALIVE", "--timeout-keep-alive")
}
