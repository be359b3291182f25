package servers

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// command is a server's command while Apply completes it.
type command struct {
	in      Input
	out     *Applied
	program int // index of the word that names the server
	words   []word
}

// word is a word after the server's name, or a setting of its config file written as --key=value.
type word struct {
	text string
	from string // "" = the command; otherwise the place, such as "uwsgi.ini:3"
	// the text before placeholders were replaced; "" = the same
	written string
}

// given is an option that the user wrote.
type given struct {
	option, value string
	text          string // as the user wrote it
	from          string
}

// read adds the words of one source of options. The source that is read first has precedence.
func (c *command) read(from string, args []string) {
	for _, arg := range args {
		c.words = append(c.words, word{text: arg, from: from})
	}
}

// all returns each occurrence of the options, in any notation: --x v, --x=v, -x v, -xv.
func (c *command) all(options ...string) []given {
	var list []given
	for i, w := range c.words {
		for _, o := range options {
			switch {
			case w.text == o:
				g := given{option: o, text: o, from: w.from}
				if i+1 < len(c.words) && c.words[i+1].from == w.from && !strings.HasPrefix(c.words[i+1].text, "-") {
					g.value = c.words[i+1].text
				}
				list = append(list, g)
			case strings.HasPrefix(o, "--") && strings.HasPrefix(w.text, o+"="):
				list = append(list, given{o, w.text[len(o)+1:], w.text, w.from})
			case len(o) == 2 && len(w.text) > 2 && w.text[1] != '-' && strings.HasPrefix(w.text, o):
				list = append(list, given{o, w.text[2:], w.text, w.from})
			}
		}
	}
	return list
}

// environment reads the options that a server takes from variables: PREFIX_SOME_OPTION is
// --some-option. One that is off is not there, unless it is one of numbers, which then are 0.
func (c *command) environment(prefix string, numbers ...string) {
	for _, kv := range c.in.Env {
		name, value, _ := strings.Cut(kv, "=")
		option, ok := strings.CutPrefix(name, prefix)
		option = "--" + strings.ReplaceAll(strings.ToLower(option), "_", "-")
		if ok && (value != "" && !isOff(value) || slices.Contains(numbers, option)) {
			c.words = append(c.words, word{text: option + "=" + value, from: name})
		}
	}
}

// isOff reports whether the value of an option means that it is off.
func isOff(value string) bool {
	return slices.Contains([]string{"0", "false", "no", "off"}, strings.ToLower(value))
}

func (c *command) has(options ...string) bool { return len(c.all(options...)) > 0 }

// where returns the start of a message about an option: its place, or the server.
func (c *command) where(g given) string {
	if g.from != "" {
		return g.from
	}
	return c.out.Server
}

// add appends options.
func (c *command) add(options ...string) { c.out.Command = append(c.out.Command, options...) }

// addOwnSocket records a unix socket on which the server reports or is controlled.
func (c *command) addOwnSocket(path string) {
	if path == "" {
		return
	}
	if !filepath.IsAbs(path) && path[0] != '@' {
		path = filepath.Join(c.in.Release, path)
	}
	c.out.Opens = append(c.out.Opens, "unix:"+path)
}

func (c *command) problem(format string, args ...any) {
	c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
}

func (c *command) warn(format string, args ...any) {
	c.out.Warnings = append(c.out.Warnings, fmt.Sprintf(format, args...))
}

// rule names options that are refused, and why, or what to write instead.
type rule struct {
	options []string
	says    string
}

// Reasons for rules that more than one server has.
const (
	passesListener = "superctl hands it the listener (listen, and its address in [listen.NAME])"
	reloadsItself  = "superctl switch and superctl reload replace code without losing a request"
	detachesItself = "superctl watches the process that it has started, and this one would end at once"
	pidFile        = "two generations run at once and the second would refuse to start; superctl status knows the pids"
	noTLS          = "superctl's health check does not speak TLS; end it in the proxy in front"
)

// many is the listener limit of a server without a limit.
const many = 1 << 10

// refuse adds a problem for each option that a rule refuses.
func (c *command) refuse(rules []rule) {
	for _, r := range rules {
		for _, g := range c.all(r.options...) {
			c.problem("%s: take out %s: %s", c.where(g), g.text, r.says)
		}
	}
}

// outside warns of code outside the release: a worker that restarts gets whatever is there by then.
func (c *command) outside(options ...string) {
	for _, g := range c.all(options...) {
		if c.in.Release != "" && strings.HasPrefix(g.value, "/") && g.value != c.in.Release &&
			!strings.HasPrefix(g.value, c.in.Release+"/") {
			c.warn("%s: %s %s is outside the release: a worker that dies is started again from what is there by "+
				"then; leave it out, the release is the working directory",
				c.where(g), g.option, g.value)
		}
	}
}

// drainBelow returns the drain limit for a server that closes connections in an orderly way at its
// limit, in seconds. It is a little shorter than superctl's drain, so that WebSockets are closed
// and not reset.
func (c *command) drainBelow() int {
	s := int(c.in.Drain / time.Second)
	return max(1, s-min(5, max(1, s/10)))
}

// drainAbove returns a drain limit that a server does not reach, in seconds. superctl kills what
// has not finished within drain, and reports what that aborted.
func (c *command) drainAbove() int { return int(c.in.Drain/time.Second) + 10 }

// drainLimit adds the server's own drain limit, or checks the limit that the user set.
func (c *command) drainLimit(seconds int, options ...string) {
	if !c.has(options...) {
		c.add(options[0], fmt.Sprint(seconds))
		return
	}
	c.within(options...)
}

// within refuses a drain limit that is longer than superctl's.
func (c *command) within(options ...string) {
	for _, g := range c.all(options...) {
		if d, err := time.ParseDuration(g.value + "s"); err == nil && d > c.in.Drain {
			c.problem(`%s: %s %s is longer than drain = %q, after which superctl kills what is left: raise drain, `+
				`or take the option out`,
				c.where(g), g.option, g.value, short(c.in.Drain))
		}
	}
}

// short formats a duration as the config writes it: 10m and not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// firstFD is the descriptor of a process's first listener.
const firstFD = 3

// listenerOf returns the index of the listener that a descriptor in the command names, "3" or
// "{fd.web}", or -1.
func (c *command) listenerOf(fd string) int {
	for i, name := range c.in.Listen {
		if fd == fmt.Sprint(firstFD+i) || fd == "{fd."+name+"}" {
			return i
		}
	}
	return -1
}

// descriptors lists the descriptors of the process.
func (c *command) descriptors() string {
	names := slices.Clone(c.in.Listen)
	for i, name := range names {
		names[i] = "{fd." + name + "}"
	}
	return strings.Join(names, ", ")
}
