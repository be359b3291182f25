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

// on returns a listener with the dial function.
func on(dial func(context.Context) (net.Conn, error)) Listener {
	return Listener{Name: "web", Dial: dial}
}

// server returns a listener whose peer reads one request and writes answer.
func server(answer string, got chan<- *http.Request) Listener {
	return on(func(context.Context) (net.Conn, error) {
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
	})
}

// check has a timeout that a slow machine does not reach: what takes so long takes it in virtual time.
func check() Check {
	return Check{Protocol: "http", Path: "/healthz/", Timeout: time.Minute}
}

func TestAnswersAreJudged(t *testing.T) {
	const noBody = "\r\nContent-Length: 0\r\n\r\n"
	anyAnswer := func(c *Check) { c.AnyAnswer = true }
	wants := func(codes ...int) func(*Check) { return func(c *Check) { c.Status = codes } }
	contains := func(text string) func(*Check) { return func(c *Check) { c.Contains = text } }
	for _, tc := range []struct {
		name, answer, reason string
		change               func(*Check)
	}{
		{"200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "", nil},
		{
			"a listed redirect", "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "",
			func(c *Check) { c.Status = []int{302} },
		},
		{"400 without a path", "HTTP/1.1 400 Bad Request" + noBody, "set health.host", anyAnswer},
		{"304 proves nothing", "HTTP/1.1 304 Not Modified\r\n\r\n", "304 Not Modified: the app takes the answer for cached", nil},
		{
			"it is compressed", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b",
			`does not contain "bad": it is compressed (gzip)`, contains("bad"),
		},
		{
			"it is longer", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 70_000),
			`does not contain "bad" in its first 64 KiB`, contains("bad"),
		},
		{"500", "HTTP/1.1 500 X" + noBody, "GET /healthz/: 500 Internal Server Error", nil},
		{"404", "HTTP/1.1 404 Not Found" + noBody, "GET /healthz/: 404 Not Found", nil},
		{"404 without a path", "HTTP/1.1 404 Not Found" + noBody, "", anyAnswer},
		{"500 without a path", "HTTP/1.1 500 X" + noBody, "500 Internal", anyAnswer},
		{"the wrong host", "HTTP/1.1 400 Bad Request" + noBody, "set health.host", nil},
		{"another status is wanted", "HTTP/1.1 204 No Content\r\n\r\n", "204", wants(200)},
		{"it contains", "HTTP/1.1 200 OK\r\n\r\nall is well", "", contains("well")},
		{"it does not contain", "HTTP/1.1 200 OK\r\n\r\nall is well", `does not contain "bad"`, contains("bad")},
		{"cut short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed before the answer was complete", nil},
		{
			"nothing", "",
			`closed without an answer (does the server speak another protocol than "http"? set health.protocol)`, nil,
		},
		{"headers cut short", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "closed before the answer was complete", nil},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", "the answer is not HTTP", nil},
		{"a status without a name", "HTTP/1.1 520 X" + noBody, "GET /healthz/: 520", nil},
		{
			"a status that is not wanted", "HTTP/1.1 302 Found" + noBody,
			"302 Found, and health.status wants 200 or 204", wants(200, 204),
		},
		{
			"early hints come first",
			"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK" + noBody, "", nil,
		},
		{"only hints", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), "more than 10 interim answers", nil},
		{
			"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n", "",
			contains("well"),
		},
		{
			"no path and no timeout", "HTTP/1.1 503 X" + noBody, "GET /: 503 Service Unavailable",
			func(c *Check) { *c = Check{} },
		},
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

func TestARequestHasItsHostAndUserAgent(t *testing.T) {
	got := make(chan *http.Request, 1)
	c := check()
	c.Host = "shop.example"
	c.Run(context.Background(), server("HTTP/1.1 200 OK\r\n\r\n", got))
	if r := <-got; r.Host != "shop.example" || r.URL.Path != "/healthz/" || r.UserAgent() != UserAgent || !r.Close {
		t.Errorf("%+v", r)
	}
}

func TestNoAnswerEndsAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := check().Run(context.Background(), on(func(context.Context) (net.Conn, error) {
			client, peer := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			return client, nil
		}))
		if r.OK || r.Reason != "GET /healthz/: no answer within 1m0s" || time.Since(began) != time.Minute {
			t.Errorf("%+v after %s", r, time.Since(began))
		}
	})
}

func TestARefusedConnectionIsTheReason(t *testing.T) {
	refuse := func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	r := check().Run(context.Background(), on(refuse))
	if r.OK || r.Answered || r.Reason != "GET /healthz/: connection refused" {
		t.Errorf("%+v", r)
	}
}

func TestTheUwsgiProtocolIsSpoken(t *testing.T) {
	c := check()
	c.Protocol, c.Path, c.Host = "uwsgi", "/a?b=c", "shop.example:8000"
	vars := make(map[string]string)
	r := c.Run(context.Background(), on(func(context.Context) (net.Conn, error) {
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
	}))
	want := map[string]string{
		"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "QUERY_STRING": "b=c",
		"HTTP_HOST": "shop.example:8000", "SERVER_PORT": "8000",
	}
	for name, value := range want {
		if vars[name] != value {
			t.Errorf("%s: %q, want %q", name, vars[name], value)
		}
	}
	if !r.OK {
		t.Errorf("%+v %v", r, vars)
	}
}

func TestAnAnswerWithoutAnEndIsReadOnlyInPart(t *testing.T) {
	const endless = "GET /healthz/: the answer has more than 1024 KiB of headers"
	for name, tc := range map[string]struct{ begin, forever, reason string }{
		"headers": {"HTTP/1.1 200 OK\r\n", "X-Again: and again\r\n", endless},
		"a line":  {"HTTP/1.1 200 OK\r\nX: ", "again ", endless},
		"body":    {"HTTP/1.1 200 OK\r\n\r\n", "and on ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := check().Run(t.Context(), server(tc.begin+strings.Repeat(tc.forever, 2<<20/len(tc.forever)), nil))
			if r.OK != (tc.reason == "") || r.Reason != tc.reason || !r.Answered {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestABodyThatNeverEndsIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := check().Run(t.Context(), on(func(context.Context) (net.Conn, error) {
			client, peer := net.Pipe()
			go func() {
				_, _ = http.ReadRequest(bufio.NewReader(peer))
				_, _ = io.WriteString(peer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
				_, _ = io.Copy(io.Discard, peer)
			}()
			return client, nil
		}))
		const reason = "GET /healthz/: no answer within 1m0s (it began with 200 OK)"
		if r.OK || !r.Answered || r.Status != 200 || r.Reason != reason {
			t.Errorf("%+v", r)
		}
	})
}

func TestAConnectThatHangsEndsAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := check().Run(t.Context(), on(func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		if r.OK || r.Answered || r.Reason != "GET /healthz/: no answer within 1m0s" || r.Took != time.Minute {
			t.Errorf("%+v", r)
		}
	})
}

func TestACancelledCheckEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := check().Run(ctx, on(func(context.Context) (net.Conn, error) {
			client, peer := net.Pipe()
			go func() {
				_, _ = http.ReadRequest(bufio.NewReader(peer))
				cancel()
				_, _ = io.Copy(io.Discard, peer)
			}()
			return client, nil
		}))
		if r.OK || r.Took != 0 || r.Reason != "GET /healthz/: the check was cancelled" {
			t.Errorf("%+v", r)
		}
	})
}

func TestARedirectIsNotFollowed(t *testing.T) {
	dials := 0
	answer := server("HTTP/1.1 301 Moved Permanently\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", nil)
	r := check().Run(t.Context(), on(func(ctx context.Context) (net.Conn, error) {
		dials++
		return answer.Dial(ctx)
	}))
	if r.OK || r.Status != 301 || dials != 1 {
		t.Errorf("%+v after %d connections", r, dials)
	}
}

func TestAnHTTPServerIsNotTakenForAUwsgiServer(t *testing.T) {
	c := check()
	c.Protocol = "uwsgi"
	answer := func(context.Context) (net.Conn, error) {
		client, peer := net.Pipe()
		go func() {
			defer peer.Close()
			_, _ = peer.Read(make([]byte, 4096))
			_, _ = io.WriteString(peer, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		}()
		return client, nil
	}
	if r := c.Run(t.Context(), on(answer)); r.OK || !strings.Contains(r.Reason, "speak HTTP rather than uwsgi") {
		t.Errorf("%+v", r)
	}
}

func TestAPathTooLongForUwsgiIsAFailure(t *testing.T) {
	for _, n := range []int{40_000, 70_000} {
		c := check()
		c.Protocol, c.Path = "uwsgi", "/"+strings.Repeat("x", n)
		r := c.Run(t.Context(), on(func(context.Context) (net.Conn, error) {
			t.Error("it dialled")
			return nil, io.EOF
		}))
		if r.OK || !strings.Contains(r.Reason, "too long for uWSGI's protocol") {
			t.Errorf("%d: %.100s", n, r.Reason)
		}
	}
}
