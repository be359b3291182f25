package servers

import (
	"fmt"
	"time"
)

// uvicorn does not support LISTEN_FDS, and takes one descriptor. TERM drains it, with one process
// or several; without a limit it waits as long as a client keeps a request open. From 0.29 it then
// ends by the signal, which is a clean exit.
func (c *command) uvicorn() {
	c.served(1)
	c.environment("UVICORN_")
	c.out.HideListen = len(c.in.Listen) > 0
	c.refuse([]rule{
		{[]string{"--host", "--port", "--uds"}, passesListener},
		{[]string{"--reload"}, reloadsItself},
		{[]string{"--ssl-keyfile", "--ssl-certfile"}, noTLS},
	})
	fds := c.all("--fd")
	for _, g := range fds {
		if i := c.listenerOf(g.value); i < 0 && len(c.in.Listen) > 0 {
			c.problem("uvicorn: --fd %s is not a listener of this process: write --fd %s, or take it out", g.value,
				c.descriptors())
		}
	}
	if len(fds) == 0 && len(c.in.Listen) > 0 {
		c.add("--fd", fmt.Sprint(firstFD))
	}
	// The option exists since 0.22; an older one exits with "no such option".
	if v, ok := c.version("uvicorn"); !ok || v.atLeast(0, 22) || c.has("--timeout-graceful-shutdown") {
		c.drainLimit(c.drainBelow(), "--timeout-graceful-shutdown")
	}
	if c.has("--limit-max-requests") && !c.has("--workers") {
		c.warn("uvicorn: with --limit-max-requests its only process ends again and again, and superctl counts each " +
			"end as a crash: add --workers, whose processes uvicorn replaces itself")
	}
	c.outside("--app-dir")
	c.persistent(5*time.Second, "UVICORN_TIMEOUT_KEEP_ALIVE", "--timeout-keep-alive")
}
