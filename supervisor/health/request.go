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
)

// varsLimit is what fits into the 16-bit length of a packet of uWSGI's protocol.
const varsLimit = 1<<16 - 1

// userAgent names the asker in the app's access log.
const userAgent = "superctl/health"

var errTooLong = errors.New("the path, the host and the headers are too long for uWSGI's protocol")

// Reserved are the headers that the check writes itself.
func Reserved(header string) bool {
	return slices.Contains([]string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Expect"},
		textproto.CanonicalMIMEHeaderKey(header))
}

// headers returns those of the request besides Host and Connection. With scheme "https" they are what a proxy that ends TLS
// sends: X-Forwarded-Proto, which Django's SECURE_PROXY_SSL_HEADER names in its documentation and which gunicorn, uvicorn and
// hypercorn read, and X-Forwarded-Ssl. X-Forwarded-Protocol is not among them: gunicorn wants "ssl" there and answers 400 to
// anything else that contradicts it.
func (c *Check) headers() map[string]string {
	all := map[string]string{"User-Agent": userAgent, "Accept": "*/*"}
	if c.Scheme == "https" {
		all["X-Forwarded-Proto"], all["X-Forwarded-Ssl"] = "https", "on"
	}
	for name, value := range c.Headers {
		all[textproto.CanonicalMIMEHeaderKey(name)] = value
	}
	return all
}

// host is the Host header.
func (c *Check) host() string {
	if c.Host == "" {
		return "localhost"
	}
	return c.Host
}

// request is what goes over the wire.
func (c *Check) request() ([]byte, error) {
	if c.protocol() == "uwsgi" {
		return c.uwsgi()
	}
	text := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n", c.Path, c.host())
	headers := c.headers()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		text = fmt.Appendf(text, "%s: %s\r\n", name, headers[name])
	}
	return append(text, "Connection: close\r\n\r\n"...), nil
}

// variables are the CGI variables of the request. HTTPS is what makes wsgi.url_scheme "https" in uWSGI.
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
		"REQUEST_URI":     c.Path,
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

// uwsgi is the request in uWSGI's own protocol: modifier1 0, the length of the variables, modifier2 0, then each variable's
// name and value, each behind its length, all little-endian 16 bit (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).
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
