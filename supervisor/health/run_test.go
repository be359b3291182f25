package health

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// server is a connection to a peer that reads one request and writes answer.
func server(answer string, got chan<- *http.Request) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		client, peer := net.Pipe()
		go func() {
			defer peer.Close()
			req, err := http.ReadRequest(bufio.NewReader(peer))
			if err != nil {
				return
			}
			if got != nil {
				got <- req
			}
			_, _ = io.WriteString(peer, answer)
		}()
		return client, nil
	}
}

func check() Check {
	return Check{Protocol: "http", Path: "/healthz/", Timeout: time.Second}
}

func TestAnswersAreJudged(t *testing.T) {
	for _, tc := range []struct {
		name, answer, reason string
		change               func(*Check)
	}{
		{"200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "", nil},
		{"a redirect is an answer", "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "", nil},
		{"500", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "GET /healthz/: 500 Internal Server Error", nil},
		{"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "GET /healthz/: 404 Not Found", nil},
		{"404 without a path", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "", func(c *Check) { c.AnyAnswer = true }},
		{"500 without a path", "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", "500 Internal", func(c *Check) { c.AnyAnswer = true }},
		{"the wrong host", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "set health.host", nil},
		{"another status is wanted", "HTTP/1.1 204 No Content\r\n\r\n", "204", func(c *Check) { c.Status = []int{200} }},
		{"it contains", "HTTP/1.1 200 OK\r\n\r\nall is well", "", func(c *Check) { c.Contains = "well" }},
		{"it does not contain", "HTTP/1.1 200 OK\r\n\r\nall is well", `does not contain "bad"`, func(c *Check) { c.Contains = "bad" }},
		{"cut short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed before the answer was complete", nil},
		{"nothing", "", "closed before the answer was complete", nil},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", "read the answer", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := check()
			if tc.change != nil {
				tc.change(&c)
			}
			r := c.Run(context.Background(), server(tc.answer, nil))
			if r.OK != (tc.reason == "") || !strings.Contains(r.Reason, tc.reason) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestARequestNamesItsHostAndItself(t *testing.T) {
	got := make(chan *http.Request, 1)
	c := check()
	c.Host = "shop.example"
	c.Run(context.Background(), server("HTTP/1.1 200 OK\r\n\r\n", got))
	if r := <-got; r.Host != "shop.example" || r.URL.Path != "/healthz/" || r.UserAgent() != userAgent || !r.Close {
		t.Errorf("%+v", r)
	}
}

func TestNoAnswerEndsAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := check().Run(context.Background(), func(context.Context) (net.Conn, error) {
			client, peer := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			return client, nil
		})
		if r.OK || r.Reason != "GET /healthz/: no answer within 1s" || time.Since(began) != time.Second {
			t.Errorf("%+v after %s", r, time.Since(began))
		}
	})
}

func TestARefusedConnectionSaysSo(t *testing.T) {
	r := check().Run(context.Background(), func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED })
	if r.OK || r.Answered || r.Reason != "GET /healthz/: connection refused" {
		t.Errorf("%+v", r)
	}
}

func TestTheUwsgiProtocolIsSpoken(t *testing.T) {
	c := check()
	c.Protocol, c.Path, c.Host = "uwsgi", "/a?b=c", "shop.example:8000"
	vars := make(map[string]string)
	r := c.Run(context.Background(), func(context.Context) (net.Conn, error) {
		client, peer := net.Pipe()
		go func() {
			defer peer.Close()
			head := make([]byte, 4)
			_, _ = io.ReadFull(peer, head)
			body := make([]byte, binary.LittleEndian.Uint16(head[1:]))
			_, _ = io.ReadFull(peer, body)
			next := func() string {
				n := binary.LittleEndian.Uint16(body)
				s := string(body[2 : 2+n])
				body = body[2+n:]
				return s
			}
			for len(body) > 0 {
				k := next()
				vars[k] = next()
			}
			_, _ = io.WriteString(peer, "HTTP/1.1 200 OK\r\n\r\nok")
		}()
		return client, nil
	})
	if !r.OK || vars["REQUEST_METHOD"] != "GET" || vars["PATH_INFO"] != "/a" || vars["QUERY_STRING"] != "b=c" || vars["HTTP_HOST"] != "shop.example:8000" || vars["SERVER_PORT"] != "8000" {
		t.Errorf("%+v %v", r, vars)
	}
}
