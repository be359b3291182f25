package nginx

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"superctl/socket"
)

// backend is a server as nginx's configuration names it.
type backend struct {
	text string // as it is written: "127.0.0.1:8000", "unix:/run/shop.sock"
	host string
	port string
	path string
}

// parseBackend reads the address at the beginning of a text, up to a slash or a variable. A port
// that is not written is the default.
func parseBackend(text, port string) backend {
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		path, _, _ := strings.Cut(rest, ":")
		return backend{text: "unix:" + path, path: path}
	}
	if i := strings.IndexAny(text, "/$"); i >= 0 {
		text = text[:i]
	}
	b := backend{text: text, host: text, port: port}
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		b.host, b.port = text[:i], text[i+1:]
	}
	b.host = strings.Trim(b.host, "[]")
	return b
}

// leadsTo reports whether a connection to the backend reaches the listener. own reports whether an
// address is one of this machine.
func (b backend) leadsTo(l socket.Listening, own func(netip.Addr) bool) bool {
	if !l.Addr.IsValid() {
		return b.path != "" && b.path == socket.PublicPath(l.Path)
	}
	if port, err := strconv.ParseUint(b.port, 10, 16); err != nil || uint16(port) != l.Addr.Port() {
		return false
	}
	at := l.Addr.Addr().Unmap()
	everywhere := at.IsUnspecified()
	if strings.EqualFold(b.host, "localhost") {
		return everywhere || at.IsLoopback()
	}
	ip, err := netip.ParseAddr(b.host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	if ip.IsUnspecified() { // as an address to connect to, it is this machine
		return everywhere || at.IsLoopback()
	}
	return ip == at || everywhere && (ip.IsLoopback() || own(ip)) && (ip.Is4() || at.Is6())
}

// mention matches what may be an address in any directive.
var mention = regexp.MustCompile(`(?:\[[0-9a-fA-F:.]+\]|[\w.-]+):\d+`)

// mentions reports whether the text of an argument has the address of the listener in it.
func mentions(text string, l socket.Listening, own func(netip.Addr) bool) bool {
	if !l.Addr.IsValid() {
		return strings.Contains(text, socket.PublicPath(l.Path))
	}
	for _, m := range mention.FindAllString(text, -1) {
		if parseBackend(m, "").leadsTo(l, own) {
			return true
		}
	}
	return false
}
