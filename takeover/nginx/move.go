// Package nginx moves nginx from one server to another: it finds the directives that name the old
// server's address, and has nginx load the configuration with the new one. nginx -s reload loses no
// request, because the old workers of nginx finish theirs.
package nginx

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"superctl/socket"
)

// Move is from a server to another.
type Move struct {
	From []socket.Listening // the old server's
	To   string             // address of the new server, as superctl's config writes it
	TLS  bool               // the old server speaks TLS, and the new one does not
	Own  func(netip.Addr) bool
}

// ErrNotNamed is the error for a configuration that has neither the old address nor the new one.
var ErrNotNamed = errors.New("it does not name the address")

// UnclearError is a configuration that names the old address in a way that a changed address alone
// would not do for.
type UnclearError struct {
	Path string
	Line int
	Why  string
}

func (e *UnclearError) Error() string { return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Why) }

// file is a file that is being edited.
type file struct {
	*File
	directives []*directive
	edits      []edit
}

// edit replaces a part of a text.
type edit struct {
	begin, end int
	text       string
}

// editor makes the edits of a move.
type editor struct {
	Move
	files     []*file
	upstreams map[string]*upstream
	found     bool // the old address
	arrived   bool // the new address is named
}

// upstream is a group of servers of nginx.
type upstream struct{ ours, others bool }

// Edit sets the new text of each file. The configuration is consistent only as a whole.
func (m Move) Edit(files []*File) error {
	e := &editor{Move: m, upstreams: map[string]*upstream{}}
	for _, f := range files {
		list, err := parse(f.Old)
		if err != nil {
			return &UnclearError{f.Path, 1, "superctl cannot read it: " + err.Error()}
		}
		e.files = append(e.files, &file{File: f, directives: list})
	}
	for _, f := range e.files {
		for _, d := range f.directives {
			e.server(f, d)
		}
	}
	for _, f := range e.files {
		for _, d := range f.directives {
			if err := e.pass(f, d); err != nil {
				return err
			}
		}
	}
	for _, f := range e.files {
		f.New = f.edited()
	}
	if !e.found && !e.arrived {
		return ErrNotNamed
	}
	return nil
}

// server edits a server of an upstream.
func (e *editor) server(f *file, d *directive) {
	if !isUpstreamServer(d) {
		return
	}
	u := e.upstreams[d.in.argument()]
	if u == nil {
		u = &upstream{}
		e.upstreams[d.in.argument()] = u
	}
	b := parseBackend(d.argument(), "80")
	switch {
	case e.old(b):
		u.ours = true
		f.replace(d.args()[0], b.text, e.To)
	case b.text == e.To: // by a move that was interrupted
		u.ours, e.arrived = true, true
	default:
		u.others = true
	}
}

func isUpstreamServer(d *directive) bool {
	return d.name() == "server" && len(d.args()) > 0 && d.in != nil && d.in.name() == "upstream"
}

// pass edits a directive that passes requests on, and refuses others that name the old address.
func (e *editor) pass(f *file, d *directive) error {
	switch {
	case d.name() == "listen", isUpstreamServer(d):
		return nil
	case d.name() == "proxy_pass":
		return e.proxy(f, d)
	case d.name() == "uwsgi_pass":
		if done, err := e.uwsgi(f, d); done || err != nil {
			return err
		}
	case strings.HasSuffix(d.name(), "_pass") && e.isOurs(d.argument()):
		return f.unclear(d, "%s to the old server", d.name())
	}
	if slices.ContainsFunc(d.args(), func(a word) bool { return e.mentions(a.text) }) {
		return f.unclear(d, "%s has the address of the old server", d.name())
	}
	return nil
}

// uwsgi edits a uwsgi_pass, and reports whether it leads to the old server.
func (e *editor) uwsgi(f *file, d *directive) (done bool, err error) {
	b := parseBackend(d.argument(), "")
	old := e.old(b)
	if e.TLS && (old || e.isOurs(d.argument())) {
		return false, f.unclear(d, "uwsgi_pass to a server with TLS")
	}
	if old {
		f.replace(d.args()[0], b.text, e.To)
	}
	return old, nil
}

// proxy edits a proxy_pass. In a stream it has no scheme.
func (e *editor) proxy(f *file, d *directive) error {
	arg := d.argument()
	scheme, rest, hasScheme := strings.Cut(arg, "://")
	if !hasScheme {
		scheme, rest = "", arg
	}
	b := parseBackend(rest, map[string]string{"http": "80", "https": "443"}[scheme])
	direct, arrived, group := e.old(b), b.text == e.To, e.isOurs(b.text)
	e.arrived = e.arrived || arrived
	if !direct && !arrived && !group {
		if e.mentions(arg) {
			return f.unclear(d, "superctl does not understand this proxy_pass to the old server")
		}
		return nil
	}
	if why := e.needsTLS(scheme, b.text); why != "" {
		return f.unclear(d, "%s", why)
	}
	old, to := b.text, b.text
	if direct {
		old, to = e.exchange(b, strings.TrimPrefix(rest, b.text))
	}
	if hasScheme {
		old = scheme + "://" + old
		if e.TLS {
			scheme = "http"
		}
		to = scheme + "://" + to
	}
	f.replace(d.args()[0], old, to)
	return nil
}

// needsTLS returns why a proxy_pass cannot lead to the new server, because that does not speak TLS; "" = it can.
func (e *editor) needsTLS(scheme, name string) string {
	switch {
	case !e.TLS:
		return ""
	case scheme == "":
		return "nginx passes the TLS of its clients on to the old server"
	case scheme == "https" && e.isOurs(name) && e.upstreams[name].others:
		return "proxy_pass with https to a group that has other servers, too"
	}
	return ""
}

// isOurs reports whether a name is that of an upstream which has the old server.
func (e *editor) isOurs(name string) bool {
	u := e.upstreams[name]
	return u != nil && u.ours
}

// mentions reports whether a text has the address of the old server in it.
func (e *editor) mentions(text string) bool {
	return slices.ContainsFunc(e.From, func(l socket.Listening) bool { return mentions(text, l, e.Own) })
}

// exchange returns the old address and the new one. nginx has a colon between the path of a socket
// and the rest of a URL.
func (e *editor) exchange(b backend, rest string) (old, to string) {
	old, to = b.text, e.To
	toPath := strings.HasPrefix(to, "unix:")
	switch {
	case b.path != "" && !toPath && rest != "":
		old += ":"
	case b.path == "" && toPath && rest != "":
		to += ":"
	}
	return old, to
}

// old reports whether a backend is the old server, and remembers that there is one.
func (e *editor) old(b backend) bool {
	is := slices.ContainsFunc(e.From, func(l socket.Listening) bool { return b.leadsTo(l, e.Own) })
	e.found = e.found || is
	return is
}

// unclear returns the error for a directive that a changed address alone would not do for.
func (f *file) unclear(d *directive, format string, args ...any) error {
	return &UnclearError{f.Path, d.line, fmt.Sprintf(format, args...)}
}

// replace replaces the first occurrence of a text in a word.
func (f *file) replace(w word, old, to string) {
	begin := w.begin + strings.Index(f.Old[w.begin:w.end], old)
	if old != to {
		f.edits = append(f.edits, edit{begin, begin + len(old), to})
	}
}

// edited returns the text with its edits.
func (f *file) edited() string {
	slices.SortFunc(f.edits, func(a, b edit) int { return cmp.Compare(a.begin, b.begin) })
	var out strings.Builder
	at := 0
	for _, e := range f.edits {
		out.WriteString(f.Old[at:e.begin] + e.text)
		at = e.end
	}
	out.WriteString(f.Old[at:])
	return out.String()
}
