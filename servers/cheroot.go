package servers

import (
	"syscall"
	"time"
)

// cheroot takes the first descriptor of LISTEN_FDS and ignores LISTEN_PID. TERM ends it at once.
// INT makes it finish the accepted requests within 5 seconds by default, and answer with
// "Connection: close" (11.1).
func (c *command) cheroot() {
	c.served(1)
	c.out.StopSignal = syscall.SIGINT
	c.refuse([]rule{{[]string{"--bind"}, passesListener}})
	if len(c.in.Unix) > 0 && c.in.Unix[0] != "" {
		// cheroot does not bind it, but without the option it takes a unix socket for TCP and fails
		// at the first connection
		c.add("--bind", c.in.Unix[0])
	}
	c.drainLimit(c.drainAbove(), "--shutdown-timeout")
	c.outside("--chdir")
	c.persistent(10*time.Second, "", "--timeout")
}
