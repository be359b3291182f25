package preset

import (
	"strings"
	"time"
)

// persistent says that the drain hook is proved with the server, and finds out for how long this keeps an idle connection: what
// one of the options says, or the variable, else its default. The first that is given counts.
func (c *command) persistent(keep time.Duration, variable string, options ...string) {
	c.out.Hook, c.out.KeepAlive = true, keep
	values := make([]string, 0)
	for _, g := range c.all(options...) {
		values = append(values, g.value)
	}
	for _, kv := range c.in.Env {
		if v, ok := strings.CutPrefix(kv, variable+"="); ok && variable != "" {
			values = append(values, v)
		}
	}
	for _, v := range values {
		if d, err := time.ParseDuration(v + "s"); err == nil {
			c.out.KeepAlive = max(0, d)
			return
		}
	}
}
