package health

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestACheckWithSchemeHTTPSLooksLikeAProxysRequest(t *testing.T) {
	c := check()
	c.Scheme, c.Headers = "https", map[string]string{"x-probe": "1", "user-agent": "mine"}
	got := make(chan *http.Request, 1)
	c.Run(t.Context(), server("HTTP/1.1 200 OK\r\n\r\n", got))
	h := (<-got).Header
	for name, value := range map[string]string{
		"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Probe": "1", "User-Agent": "mine",
	} {
		if h.Get(name) != value || len(h.Values(name)) != 1 {
			t.Errorf("%s: %q", name, h.Values(name))
		}
	}
	c.Protocol = "uwsgi"
	vars := c.variables()
	for name, value := range map[string]string{
		"HTTPS": "on", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_PROBE": "1", "SERVER_PORT": "443",
	} {
		if vars[name] != value {
			t.Errorf("%s: %q", name, vars[name])
		}
	}
}

// listening returns a listener that accepts each connection after a delay and passes it to handle.
func listening(after time.Duration, handle func(net.Conn)) Listener {
	var queued atomic.Int32
	return Listener{
		Name: "db",
		Dial: func(context.Context) (net.Conn, error) {
			client, peer := net.Pipe()
			queued.Add(1)
			time.AfterFunc(after, func() { queued.Add(-1); handle(peer) })
			return client, nil
		},
		Queued: func() (int, error) { return int(queued.Load()), nil },
	}
}

func TestATCPCheckWaitsUntilTheWorkerAccepts(t *testing.T) {
	stays := func(conn net.Conn) { time.AfterFunc(time.Minute, func() { _ = conn.Close() }) }
	closes := func(conn net.Conn) { _ = conn.Close() }
	greets := func(conn net.Conn) { _, _ = io.WriteString(conn, "220 hello") }
	const notAccepted = "connect: the connection was not accepted within 1s"
	for name, tc := range map[string]struct {
		l      Listener
		reason string
		took   time.Duration
	}{
		"accepted":       {listening(200*time.Millisecond, stays), "", 300 * time.Millisecond},
		"never accepted": {listening(time.Hour, stays), notAccepted, time.Second},
		"hung up":        {listening(0, closes), "connect: the connection was closed at once", time.Second},
		"greeted":        {listening(0, greets), "", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := Check{Kind: TCP, Timeout: time.Second}.Run(t.Context(), tc.l)
				if r.OK != (tc.reason == "") || r.Reason != tc.reason || r.Took > tc.took {
					t.Errorf("%+v", r)
				}
				time.Sleep(2 * time.Hour) // lets the pending timers run
			})
		})
	}
}

func TestACommandIsHealthyWhenItExitsWithZero(t *testing.T) {
	c := Check{Kind: Exec, Command: []string{"celery", "inspect", "ping"}, Timeout: time.Minute}
	run := func(lines []string, err error) func(context.Context, []string, func(string)) error {
		return func(_ context.Context, argv []string, line func(string)) error {
			if !slices.Equal(argv, c.Command) {
				t.Errorf("it ran %q", argv)
			}
			for _, l := range lines {
				line(l)
			}
			return err
		}
	}
	if r := c.Exec(t.Context(), run(nil, nil)); !r.OK || r.Reason != "" {
		t.Errorf("%+v", r)
	}
	r := c.Exec(t.Context(), run([]string{"first", "\x1b[31mno broker\x1b[0m", ""}, errors.New("exit code 69")))
	if r.OK || r.Answered || r.Reason != "health check celery inspect ping: exit code 69: [31mno broker [0m" {
		t.Errorf("%+v", r)
	}
}

func TestACommandThatHangsEndsAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Check{Kind: Exec, Command: []string{"sleep"}, Timeout: time.Second}
		r := c.Exec(t.Context(), func(ctx context.Context, _ []string, _ func(string)) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if r.OK || r.Took != time.Second || r.Reason != "health check sleep: no answer within 1s" {
			t.Errorf("%+v", r)
		}
	})
}

// paths returns a listener whose server answers 200 to the good paths and 404 to others, and
// records each request.
func paths(name string, good []string, asked *[]string) Listener {
	return Listener{Name: name, Dial: func(context.Context) (net.Conn, error) {
		client, peer := net.Pipe()
		go func() {
			defer peer.Close()
			req, err := http.ReadRequest(bufio.NewReader(peer))
			if err != nil {
				return
			}
			*asked = append(*asked, name+req.URL.Path)
			status := "404 Not Found"
			if slices.Contains(good, req.URL.Path) {
				status = "200 OK"
			}
			_, _ = io.WriteString(peer, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
		}()
		return client, nil
	}}
}

func TestARoundThatIsCancelledAsksNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var dialled []string
		listener := func(name string) Listener {
			return Listener{
				Name: name,
				Dial: func(context.Context) (net.Conn, error) {
					dialled = append(dialled, name)
					client, _ := net.Pipe()
					return client, nil
				},
				Queued: func() (int, error) { cancel(); return 0, nil },
			}
		}
		p := Policy{Check: Check{Kind: TCP}}
		r := p.RunAll(ctx, Subject{Listeners: []Listener{listener("web"), listener("admin")}})
		if r.OK || !slices.Equal(dialled, []string{"web"}) {
			t.Errorf("%+v after asking %s", r, dialled)
		}
	})
}

func TestEveryCheckMustPassOnEachOfItsListeners(t *testing.T) {
	ran := 0
	for name, tc := range map[string]struct {
		web, admin []string
		exit       error
		asked      string
		says       string
	}{
		"all pass": {[]string{"/a", "/b"}, []string{"/a"}, nil, "web/a admin/a web/b", ""},
		"the second check": {
			[]string{"/a"},
			[]string{"/a"},
			nil,
			"web/a admin/a web/b", "listener web: GET /b: 404",
		},
		"the second listener": {[]string{"/a", "/b"}, nil, nil, "web/a admin/a", "listener admin: GET /a: 404"},
		"the command": {
			[]string{"/a", "/b"},
			[]string{"/a"},
			errors.New("exit code 1"),
			"web/a admin/a web/b", "exit code 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			ran = 0
			p := Policy{Check: Check{Path: "/a"}, More: []Check{
				{Path: "/b", Listeners: []string{"web"}}, {Kind: Exec, Command: []string{"ok"}},
			}}
			r := p.RunAll(t.Context(), Subject{
				Listeners: []Listener{paths("web", tc.web, &asked), paths("admin", tc.admin, &asked)},
				Command:   func(context.Context, []string, func(string)) error { ran++; return tc.exit },
			})
			if r.OK != (tc.says == "") || !strings.Contains(r.Reason, tc.says) || !r.Answered {
				t.Errorf("%+v", r)
			}
			wantRan := map[bool]int{true: 1}[tc.says == "" || tc.exit != nil]
			if got := strings.Join(asked, " "); got != tc.asked || ran != wantRan {
				t.Errorf("asked %s, and ran %d commands", got, ran)
			}
		})
	}
}
