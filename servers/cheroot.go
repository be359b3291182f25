package servers

import (
	"syscall"
	"time"
)

// cheroot takes the first descriptor of LISTEN_FDS, whatever LISTEN_PID says. TERM ends it at once; INT has it finish what it
// accepted, in 5 seconds unless it is told otherwise, and say "Connection: close" (11.1).
func (c *command) cheroot() {
	c.served(1)
	c.out.StopSignal = syscall.SIGINT
	c.refuse([]rule{{[]string{"--bind"}, handsListener}})
	if len(c.in.Unix) > 0 && c.in.Unix[0] != "" {
		c.add("--bind", c.in.Unix[0]) // which it does not do; but it takes a socket for TCP without, and fails at the first connection
	}
	c.graceful(c.beyond(), "--shutdown-timeout")
	c.outside("--chdir")
	c.persistent(10*time.Second, "", "--timeout")
}
