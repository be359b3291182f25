package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/idna"

	"superctl/supervisor/health"
)

// minCheckTime is the shortest duration in a check.
const minCheckTime = 10 * time.Millisecond

// health parses the health checks of a process. A process with listeners always has one; one
// without can only have commands.
func (l *loader) health(key string, t processTable) *health.Policy {
	key += ".health"
	if t.Health == nil && len(t.Listen) == 0 {
		return nil
	}
	h := cmp.Or(t.Health, &healthTable{})
	checks := (&checkLoader{l, t.Listen}).all(key, h)
	p := &health.Policy{Check: checks[0], More: checks[1:]}
	interval := defaultInterval
	if p.HasExec() {
		interval = defaultExecInterval
	}
	p.Interval = l.duration(key+".interval", h.Interval, interval, minCheckTime)
	p.HealthyAfter = int(l.number(key+".healthy_after", h.HealthyAfter, defaultHealthyAfter, 1, 1000))
	p.UnhealthyAfter = l.duration(key+".unhealthy_after", h.UnhealthyAfter, defaultUnhealthy, minCheckTime)
	p.Always = l.always(key, h)
	return p
}

func (l *loader) always(key string, h *healthTable) *health.Always {
	a := &health.Always{
		Interval: l.duration(key+".always_interval", h.AlwaysInterval, defaultAlwaysInterval, time.Second),
		Failures: int(l.number(key+".always_failures", h.AlwaysFailures, defaultFailures, 1, 1000)),
	}
	if h.Always {
		return a
	}
	for name, given := range map[string]bool{
		"always_interval": h.AlwaysInterval != nil,
		"always_failures": h.AlwaysFailures != nil,
	} {
		if given {
			l.at(key+"."+name, "%s needs always = true", name)
		}
	}
	return nil
}

// checkLoader parses the health checks of a process with those listeners.
type checkLoader struct {
	*loader
	listen []string
}

// all returns the check in the table itself and those of its list. With a list, the table is a
// check only if it has a key that is specific to one; its other keys are defaults for the list.
func (l *checkLoader) all(key string, h *healthTable) (list []health.Check) {
	own := checkTable{
		Kind: h.Kind, Listen: h.Listen, Timeout: h.Timeout, Path: h.Path, Host: h.Host, Scheme: h.Scheme,
		Headers: h.Headers, Status: h.Status,
		Contains: h.Contains, MaxLatency: h.MaxLatency, Protocol: h.Protocol, Command: h.Command,
	}
	itself := h.Kind != "" || h.Listen != nil || h.Path != nil || h.Status != nil || h.Contains != "" ||
		h.MaxLatency != nil || h.Command != nil
	if itself || len(h.Check) == 0 {
		list = append(list, l.check(key, own))
	}
	if h.Check != nil && len(h.Check) == 0 {
		l.at(key+".check", "check is empty: write a table [[%s.check]] for each check, or leave it out", key)
	}
	for i, c := range h.Check {
		at := fmt.Sprintf("%s.check[%d]", key, i)
		if c.kind() == health.HTTP {
			if c.Path == nil {
				l.at(at, `the check has no path: write path = "/healthz/"`)
			}
			c.Host, c.Scheme = cmp.Or(c.Host, h.Host), cmp.Or(c.Scheme, h.Scheme)
			c.Protocol = cmp.Or(c.Protocol, h.Protocol)
			headers := make(map[string]string)
			maps.Copy(headers, h.Headers)
			maps.Copy(headers, c.Headers)
			c.Headers = headers
		}
		c.Timeout = cmp.Or(c.Timeout, h.Timeout)
		list = append(list, l.check(at, c))
	}
	return list
}

// kind returns the kind of a check, which is optional for a command.
func (c *checkTable) kind() health.Kind {
	switch {
	case c.Kind == "" && c.Command != nil:
		return health.Exec
	case c.Kind == "":
		return health.HTTP
	}
	return health.Kind(c.Kind)
}

// check parses one check.
func (l *checkLoader) check(key string, t checkTable) health.Check {
	c := health.Check{Kind: t.kind(), Listeners: t.Listen}
	c.Timeout = l.duration(key+".timeout", t.Timeout, defaultTimeout, minCheckTime)
	switch {
	case !slices.Contains([]health.Kind{health.HTTP, health.TCP, health.Exec}, c.Kind):
		l.at(key+".kind", `kind %q: write "http", "tcp" or "exec"`, t.Kind)
		return c
	case c.Kind != health.Exec && len(l.listen) == 0:
		l.at(key,
			`a process without listeners can only be checked by a command: write kind = "exec" and command, or `+
				`remove the table`)
	}
	if c.Kind != health.HTTP {
		l.onlyHTTP(key, t, c.Kind)
	}
	l.listeners(key, t, c.Kind)
	switch c.Kind {
	case health.HTTP:
		c.Kind = "" // compatible with daemons from before this key
		l.http(key, t, &c)
	case health.Exec:
		if t.Command == nil {
			l.at(key, `the check has no command: write command = "celery -A shop inspect ping"`)
			break
		}
		c.Command = l.command(key, t.Command)
	default:
	}
	if c.Kind != health.Exec && t.Command != nil {
		l.at(key+".command", `command is for kind = "exec"`)
	}
	return c
}

// onlyHTTP records the keys that are for HTTP checks only.
func (l *checkLoader) onlyHTTP(key string, t checkTable, kind health.Kind) {
	given := map[string]bool{
		"path": t.Path != nil, "host": t.Host != "", "scheme": t.Scheme != "", "headers": t.Headers != nil,
		"status":   t.Status != nil,
		"contains": t.Contains != "", "max_latency": t.MaxLatency != nil, "protocol": t.Protocol != "",
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if given[name] {
			l.at(key+"."+name, `%s is for kind = "http"; this check has kind = %q`, name, kind)
		}
	}
}

// listeners checks that the listeners of a check are the process's.
func (l *checkLoader) listeners(key string, t checkTable, kind health.Kind) {
	if kind == health.Exec && t.Listen != nil {
		l.at(key+".listen", `listen is not for kind = "exec": a command is run once, whatever listeners there are`)
		return
	}
	if t.Listen != nil && len(t.Listen) == 0 {
		l.at(key+".listen", "listen is empty: name listeners of the process, or leave it out to ask on each")
	}
	for _, name := range t.Listen {
		if !slices.Contains(l.listen, name) {
			l.at(key+".listen", "listener %q is not one of the process: it has %s", name, strings.Join(l.listen, ", "))
		}
	}
}

// http parses what only an HTTP check has.
func (l *checkLoader) http(key string, t checkTable, c *health.Check) {
	c.Host, c.Contains, c.Protocol, c.Scheme, c.Headers = t.Host, t.Contains, t.Protocol, t.Scheme, t.Headers
	c.Path, c.AnyAnswer = "/", true
	if t.Path != nil {
		c.Path, c.AnyAnswer = *t.Path, false
		switch {
		case !strings.HasPrefix(c.Path, "/"):
			l.at(key+".path", `path %q: write it from /, such as "/healthz/"`, c.Path)
		case strings.ContainsAny(c.Path, " \r\n"):
			l.at(key+".path", "path %q: it cannot have blanks: write %%20", c.Path)
		}
	}
	if strings.ContainsAny(t.Host, " \r\n") {
		l.at(key+".host", "host %q: it cannot have blanks", t.Host)
	} else if instead := hostInstead(t.Host); instead != t.Host {
		l.c.Warnings = append(l.c.Warnings,
			fmt.Sprintf("%s.host = %q is not what a Host header has, which most apps reject: write %q", key, t.Host, instead))
	}
	if !slices.Contains([]string{"", "http", "https"}, t.Scheme) {
		l.at(key+".scheme", `scheme %q: write "http" or "https"`, t.Scheme)
	}
	if !slices.Contains([]string{"", "http", "uwsgi"}, t.Protocol) {
		l.at(key+".protocol", `protocol %q: "http" or "uwsgi"`, t.Protocol)
	}
	l.headers(key+".headers", t.Headers)
	c.Status = l.statuses(key+".status", t.Status)
	c.MaxLatency = l.duration(key+".max_latency", t.MaxLatency, 0, time.Millisecond)
	if c.MaxLatency > c.Timeout {
		l.at(key+".max_latency", "max_latency = %q is longer than timeout = %q, so it is never reached", c.MaxLatency,
			c.Timeout)
	}
}

// hostInstead returns what to write for a host that is a URL, an IPv6 address without brackets, or a name
// that is not ASCII.
func hostInstead(host string) string {
	if _, rest, isURL := strings.Cut(host, "://"); isURL {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return "[" + host + "]"
	}
	if ascii, err := idna.ToASCII(host); err == nil {
		return ascii
	}
	return host
}

// headers checks that a request can have the headers. A value may be secret, so it is never shown.
func (l *checkLoader) headers(key string, headers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at := key + "." + name
		switch {
		case strings.EqualFold(name, "Host"):
			l.at(at, "set the Host header with the key host, not in headers")
		case health.IsReservedHeader(name):
			l.at(at, "header %q: superctl writes it itself", name)
		case !httpguts.ValidHeaderFieldName(name):
			l.at(at, "header %q: use letters, digits and -", name)
		case !httpguts.ValidHeaderFieldValue(headers[name]):
			l.at(at, "header %q: its value has a control character", name)
		}
	}
}
