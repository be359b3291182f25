package servers

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// persistent says that the drain hook is proved with the server, and finds out for how long this keeps an idle connection: what
// one of the options says, or the variable, else its default. The first that is given counts.
func (c *command) persistent(keep time.Duration, variable string, options ...string) {
	c.out.Hook, c.out.KeepAlive = true, keep
	c.unhooked()
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

// unhooks are programs that have Python load a sitecustomize of their own, in the place of superctl's drain hook and not
// beside it (opentelemetry.instrumentation.auto_instrumentation; ddtrace and newrelic load the next one too).
var unhooks = []string{"opentelemetry-instrument"} //nolint:gochecknoglobals // a table

// unhooked warns of a program in front of the server that keeps the drain hook out.
func (c *command) unhooked() {
	for _, word := range c.in.Command[:c.program] {
		if name := filepath.Base(word); slices.Contains(unhooks, name) {
			c.warn("%s keeps superctl's drain hook out of %s: a client that keeps a connection open may lose the request that it sends when the old "+
				"workers stop; call opentelemetry.instrumentation.auto_instrumentation.initialize() in the app instead", name, c.out.Server)
		}
	}
}
