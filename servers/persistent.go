package servers

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// persistent marks the drain hook as supported by the server, and finds out how long the server
// keeps an idle connection: the value of an option or the variable, or the default. The first one
// found has precedence.
func (c *command) persistent(keep time.Duration, variable string, options ...string) {
	c.out.Hook, c.out.KeepAlive = true, keep
	c.warnHookBlocked()
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

// hookBlockers are programs that make Python load their own sitecustomize instead of superctl's
// drain hook (opentelemetry.instrumentation.auto_instrumentation; ddtrace and newrelic also load
// the next one).
var hookBlockers = []string{"opentelemetry-instrument"} //nolint:gochecknoglobals // a table

// warnHookBlocked warns of a program in front of the server that blocks the drain hook.
func (c *command) warnHookBlocked() {
	for _, word := range c.in.Command[:c.program] {
		if name := filepath.Base(word); slices.Contains(hookBlockers, name) {
			c.warn("%s keeps superctl's drain hook out of %s: a client that keeps a connection open may lose the "+
				"request that it sends when the old "+
				"workers stop; call opentelemetry.instrumentation.auto_instrumentation.initialize() in the app "+
				"instead", name, c.out.Server)
		}
	}
}
