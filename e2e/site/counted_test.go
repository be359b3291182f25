package site

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/harness"
)

//go:embed counted.py
var countedApps []byte

// countedPaths are what each connection asks for, in turn.
var countedPaths = []string{"/200", "/404", "/stream", "/302", "/500", "/200", "/raise", "/503", "/200", "/201"}

// tally is what clients got, by class of status; [0] is a broken answer.
type tally struct {
	mu sync.Mutex
	n  [6]uint64
}

func (t *tally) count(class int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[class]++
}

func (t *tally) sum() (n uint64) {
	for _, class := range t.n {
		n += class
	}
	return n
}

// askOn asks for a path on a connection, and returns the class of the answer, 0 if it was broken, and
// whether the connection can be used again.
func askOn(t *testing.T, c net.Conn, in *bufio.Reader, path string) (class int, kept bool) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", path); err != nil {
		t.Errorf("%s: %v", path, err)
		return 0, false
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		if path != "/raise" || !errors.Is(err, io.ErrUnexpectedEOF) { // uWSGI closes the connection then
			t.Errorf("%s: no answer: %v", path, err)
		}
		return 0, false
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, false
	}
	return resp.StatusCode / 100, !resp.Close && path != "/raise" // cheroot closes after it without saying so
}

// dial opens a connection to the app.
func dial(t *testing.T, a *harness.App) (net.Conn, *bufio.Reader) {
	t.Helper()
	network, address := a.Target()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	return c, bufio.NewReader(c)
}

// askAll asks for all paths several times, on kept connections as long as the server keeps them.
func askAll(t *testing.T, a *harness.App, got *tally) {
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			c, in := dial(t, a)
			defer func() { _ = c.Close() }()
			for i := range 3 * len(countedPaths) {
				class, kept := askOn(t, c, in, countedPaths[i%len(countedPaths)])
				got.count(class)
				if !kept {
					_ = c.Close()
					c, in = dial(t, a)
				}
			}
		})
	}
	clients.Wait()
}

// breakAll asks for answers that the app breaks off.
func breakAll(t *testing.T, a *harness.App, got *tally, hidden bool) {
	for range 5 {
		c, in := dial(t, a)
		class, _ := askOn(t, c, in, "/cut")
		if hidden && class == 2 {
			class = 0
		}
		got.count(class)
		_ = c.Close()
	}
}

// leaveAll asks for long answers and leaves in the middle of each.
func leaveAll(t *testing.T, a *harness.App) (left uint64) {
	for range 5 {
		c, in := dial(t, a)
		if _, err := io.WriteString(c, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, in, 1000); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, as when a browser tab is closed
		_ = c.Close()
		left++
	}
	return left
}

func TestEveryAnswerIsCountedAsItsClientGotIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		blind   bool // the server does not tell its app that a client has left
		hangs   bool // it does not end an answer that its app has broken off
		hides   bool // it ends it as if it were complete
	}{
		"gunicorn-sync":    {command: "gunicorn --workers 2 counted:wsgi"},
		"gunicorn-gthread": {command: "gunicorn --worker-class gthread --threads 4 counted:wsgi"},
		"gunicorn-gevent":  {command: "gunicorn --worker-class gevent counted:wsgi"},
		"gunicorn-asgi":    {command: "gunicorn --worker-class asgi counted:asgi"},
		"uvicorn":          {command: "uvicorn counted:asgi"},
		"uvicorn-workers":  {command: "uvicorn --http h11 --workers 2 --timeout-worker-healthcheck 300 counted:asgi"},
		"hypercorn":        {command: "hypercorn counted:asgi"},
		"waitress":         {command: "waitress-serve --threads 4 counted:wsgi"},
		"cheroot":          {command: "python -m cheroot counted:wsgi"},
		"daphne":           {command: "daphne counted:asgi", hangs: true, blind: true}, // it takes the whole answer into its buffers
		"granian-asgi":     {command: "granian --interface asgi counted:asgi", blind: true},
		"granian-wsgi":     {command: "granian --interface wsgi counted:wsgi", blind: true, hides: true},
		"uwsgi":            {command: "uwsgi --workers 2 --threads 2 --module counted:wsgi", hides: true},
		"uwsgi-lazy-apps":  {command: "uwsgi --lazy-apps --wsgi-file counted.py --callable wsgi", hides: true},
		"uwsgi-catching":   {command: "uwsgi --catch-exceptions --module counted:wsgi", hides: true},
	} {
		inHookParts(t, name, []string{"gunicorn-gthread", "uvicorn", "granian-asgi"}, func(t *testing.T, env string) {
			t.Helper()
			a := countedSite(t, c.command, env)
			var got tally
			askAll(t, a, &got)
			if !c.hangs {
				breakAll(t, a, &got, c.hides)
			}
			var left uint64
			if !c.blind {
				left = leaveAll(t, a)
			}
			r := settled(t, a, got.sum()+left)
			counted := [6]uint64{r.Broken, r.Status1xx, r.Status2xx, r.Status3xx, r.Status4xx, r.Status5xx}
			if counted != got.n || r.Aborted != left || r.Lost != 0 {
				t.Errorf("counted %v, aborted %d, lost %d; clients got %v and left %d times (broken, 1xx to 5xx)",
					counted, r.Aborted, r.Lost, got.n, left)
			}
		})
	}
}

// inHookParts runs a test of a server with the hook's part in C, and once more with all of the hook in
// Python: of those servers, or of every one (make test-hook). env is for the server.
func inHookParts(t *testing.T, server string, inPython []string, test func(t *testing.T, env string)) {
	t.Helper()
	t.Run(server, func(t *testing.T) {
		t.Parallel()
		test(t, "")
	})
	if !slices.Contains(inPython, server) && os.Getenv("SUPERCTL_HOOK_PARTS") != "all" {
		return
	}
	t.Run(server+" in Python", func(t *testing.T) {
		t.Parallel()
		test(t, `DRAIN_HOOK = "python"`)
	})
}

// countedSite returns a site that serves the apps of counted.py by a command.
func countedSite(t *testing.T, command, env string) *harness.App {
	t.Helper()
	a := harness.New(t, run, harness.Options{Server: harness.Server{Name: "counted", Command: command}, Env: env})
	a.Releases("r1")
	a.WriteFile("releases/r1/counted.py", string(countedApps))
	a.Start("r1")
	return a
}

func TestAHeadThatTheServerRefusesIsCounted(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"gunicorn-gthread": "gunicorn --worker-class gthread counted:wsgi",
		"gunicorn-asgi":    "gunicorn --worker-class asgi counted:asgi",
		"uvicorn":          "uvicorn counted:asgi",
		"uvicorn-h11":      "uvicorn --http h11 counted:asgi",
		"hypercorn":        "hypercorn counted:asgi",
		"cheroot":          "python -m cheroot counted:wsgi",
	} {
		inHookParts(t, name, nil, func(t *testing.T, env string) {
			t.Helper()
			a := countedSite(t, command, env)
			const each = 3
			for range each {
				for _, head := range []string{"GET / HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n", "GET /404 HTTP/1.1\r\nHost: x\r\n\r\n"} {
					c, in := dial(t, a)
					fmt.Fprint(c, head)
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					if resp.StatusCode/100 != 4 {
						t.Errorf("%q: %s", head, resp.Status)
					}
					_ = c.Close()
				}
			}
			if r := settled(t, a, 2*each); r.Status4xx != 2*each || r.Started != 2*each {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestWebSocketsAreCountedAsAcceptedOrRefused(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"gunicorn-asgi": "gunicorn --worker-class asgi counted:asgi",
		"uvicorn":       "uvicorn --ws websockets counted:asgi",
		"hypercorn":     "hypercorn counted:asgi",
		"daphne":        "daphne counted:asgi",
		"granian-asgi":  "granian --interface asgi counted:asgi",
		"granian-rsgi":  "granian --interface rsgi counted:rsgi",
	} {
		inHookParts(t, name, nil, func(t *testing.T, env string) {
			t.Helper()
			a := countedSite(t, command, env)
			const each = 3
			for range each {
				for path, want := range map[string]int{"/": http.StatusSwitchingProtocols, "/refused": http.StatusForbidden} {
					c, in := dial(t, a)
					fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
						"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					if resp.StatusCode != want {
						t.Errorf("%s: %s", path, resp.Status)
					}
					_ = c.Close()
				}
			}
			if r := settled(t, a, 2*each); r.Status1xx != each || r.Status4xx != each || r.Started != 2*each {
				t.Errorf("%+v", r)
			}
		})
	}
}

// settled returns the counts of the app when all requests are counted and none is in flight: a server
// may learn later than its client that an answer has ended, and status may be a second old.
func settled(t *testing.T, a *harness.App, requests uint64) *api.Requests {
	t.Helper()
	var r *api.Requests
	harness.Eventually(t, "nothing is in flight", func() bool {
		r = a.Status().Requests
		return r != nil && r.InFlight == 0 && r.Started >= requests
	})
	return r
}
