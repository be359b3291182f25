package health

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

// varsLimit is the largest value of the 16-bit length field of a uwsgi packet.
const varsLimit = 1<<16 - 1

// UserAgent identifies health checks in the app's access log, and keeps them out of the counts of
// requests. A check may have another one in its headers: it is then counted as a user's request.
const UserAgent = "superctl/health"

var errTooLong = errors.New("path, host and headers are too long for uWSGI's protocol")

// IsReservedHeader reports whether the check itself sets the header, so that the config cannot.
func IsReservedHeader(header string) bool {
	return slices.Contains([]string{
		"Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Expect",
	}, textproto.CanonicalMIMEHeaderKey(header))
}

// headers returns the headers of the request other than Host and Connection. With scheme "https"
// they are those of a proxy that terminates TLS: X-Forwarded-Proto, which Django's documentation of
// SECURE_PROXY_SSL_HEADER names and gunicorn, uvicorn and hypercorn read, and X-Forwarded-Ssl.
// X-Forwarded-Protocol is not among them: gunicorn expects the value "ssl" there, and answers 400
// if the headers contradict one another.
func (c *Check) headers() map[string]string {
	all := map[string]string{"User-Agent": UserAgent, "Accept": "*/*"}
	if c.Scheme == "https" {
		all["X-Forwarded-Proto"], all["X-Forwarded-Ssl"] = "https", "on"
	}
	for name, value := range c.Headers {
		all[textproto.CanonicalMIMEHeaderKey(name)] = value
	}
	return all
}

// host returns the value of the Host header.
func (c *Check) host() string {
	if c.Host == "" {
		return "localhost"
	}
	return c.Host
}

// target returns the path as a request has it: a browser encodes what is not ASCII too.
func (c *Check) target() string {
	var b strings.Builder
	for i := range len(c.Path) {
		if c.Path[i] < utf8.RuneSelf {
			b.WriteByte(c.Path[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", c.Path[i])
		}
	}
	return b.String()
}

// request returns the bytes to send.
func (c *Check) request() ([]byte, error) {
	if c.protocol() == "uwsgi" {
		return c.uwsgi()
	}
	text := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n", c.target(), c.host())
	headers := c.headers()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		text = fmt.Appendf(text, "%s: %s\r\n", name, headers[name])
	}
	return append(text, "Connection: close\r\n\r\n"...), nil
}

// variables returns the CGI variables of the request. uWSGI derives wsgi.url_scheme from HTTPS.
func (c *Check) variables() map[string]string {
	path, query, _ := strings.Cut(c.Path, "?")
	scheme, port := "http", "80"
	if c.Scheme == "https" {
		scheme, port = "https", "443"
	}
	name := c.host()
	if host, given, err := net.SplitHostPort(name); err == nil {
		name, port = host, given
	}
	vars := map[string]string{
		"REQUEST_METHOD":  "GET",
		"REQUEST_URI":     c.target(),
		"REQUEST_SCHEME":  scheme,
		"PATH_INFO":       path,
		"QUERY_STRING":    query,
		"SCRIPT_NAME":     "",
		"SERVER_PROTOCOL": "HTTP/1.1",
		"SERVER_NAME":     name,
		"SERVER_PORT":     port,
		"HTTP_HOST":       c.host(),
		"REMOTE_ADDR":     "127.0.0.1",
		"CONTENT_LENGTH":  "",
		"CONTENT_TYPE":    "",
	}
	if scheme == "https" {
		vars["HTTPS"] = "on"
	}
	for header, value := range c.headers() {
		vars["HTTP_"+strings.ToUpper(strings.ReplaceAll(header, "-", "_"))] = value
	}
	return vars
}

// uwsgi encodes the request in uWSGI's own protocol: modifier1 0, the length of the variables,
// modifier2 0, then the name and value of each variable, each preceded by its length. All lengths
// are 16-bit little-endian (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).
func (c *Check) uwsgi() ([]byte, error) {
	all := c.variables()
	var vars []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, s := range []string{name, all[name]} {
			if len(s) > varsLimit {
				return nil, errTooLong
			}
			vars = binary.LittleEndian.AppendUint16(vars, uint16(len(s)))
			vars = append(vars, s...)
		}
	}
	if len(vars) > varsLimit {
		return nil, errTooLong
	}
	head := binary.LittleEndian.AppendUint16([]byte{0}, uint16(len(vars)))
	return append(append(head, 0), vars...), nil
}
