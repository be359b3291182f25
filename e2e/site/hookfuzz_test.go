package site

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/supervisor/drainhook" //nolint:depguard // a worker's flag is set as the daemon sets it, without one
)

//go:embed hookfuzz.py
var fuzzedApps []byte

// fuzzed is a server of the fuzzed apps, with or without the drain hook.
func fuzzed(t *testing.T, command, web, env string) *harness.App {
	t.Helper()
	a := harness.New(t, run, harness.Options{Server: harness.Server{Name: "fuzz", Command: command}, Web: web, Env: env})
	a.Releases("r1")
	if err := os.WriteFile(a.Path("releases", "r1", "fuzz.py"), fuzzedApps, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Start("r1")
	return a
}

// answered is an answer without the parts that may differ, and what the server announced and did
// with the connection.
type answered struct {
	text   string
	closes bool // it says that it will close
	whole  bool
	ended  bool // and has, within a short time
}

// askFuzzed sends a request on a new connection. If the server announces the close of the
// connection, askFuzzed may wait for it: not every server closes because the application says so.
func askFuzzed(t *testing.T, a *harness.App, request, method string, wait bool) (got answered) {
	t.Helper()
	network, address := a.Target()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Error(err)
		return got
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := io.WriteString(c, request); err != nil {
		t.Error(err)
		return got
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		got.text = "no answer: " + err.Error()
		return got
	}
	defer resp.Body.Close()
	got.closes = resp.Close
	if resp.StatusCode == http.StatusSwitchingProtocols {
		fmt.Fprint(c, "\x81\x85\x00\x00\x00\x00hello") // a frame masked with zeros
		head := make([]byte, 2)
		if _, err := io.ReadFull(in, head); err == nil {
			frame := make([]byte, head[1]&0x7f)
			_, _ = io.ReadFull(in, frame)
			got.text = fmt.Sprintf("%q", frame)
		}
	} else {
		body, err := io.ReadAll(resp.Body)
		got.text, got.whole = fmt.Sprintf("%q, and an error: %v", body, err != nil), err == nil
		resp.Header.Del("Connection")
		resp.Header.Del("Keep-Alive") // how long the connection is kept
	}
	resp.Header.Del("Date")
	got.text = fmt.Sprintf(
		"%s %s %v %v %d %s", resp.Proto, resp.Status, resp.Header, resp.TransferEncoding, resp.ContentLength, got.text,
	)
	if got.closes && wait {
		_, err := io.Copy(io.Discard, in) // gunicorn's asgi worker sends the body of a 500 for HEAD too
		got.ended = err == nil
	}
	return got
}

func TestTheDrainHookChangesOnlyTheHeader(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"gunicorn-gthread": "gunicorn --worker-class gthread --threads 16 fuzz:wsgi",
		"gunicorn-asgi":    "gunicorn --worker-class asgi fuzz:asgi",
		"uvicorn":          "uvicorn --ws websockets fuzz:asgi",
		"uvicorn-h11":      "uvicorn --http h11 fuzz:asgi",
		"hypercorn":        "hypercorn fuzz:asgi",
		"waitress":         "waitress-serve --threads 8 fuzz:wsgi",
		"cheroot":          "python -m cheroot fuzz:wsgi",
		"daphne":           "daphne fuzz:ending_asgi",
		"granian-asgi":     "granian --interface asgi fuzz:asgi",
		"granian-wsgi":     "granian --interface wsgi fuzz:wsgi",
		"uwsgi":            "uwsgi --threads 8 --module fuzz:wsgi", // which only counts
	} {
		inHookParts(t, name, []string{"uvicorn"}, func(t *testing.T, env string) {
			t.Helper()
			plain, hooked := fuzzed(t, command, "drain_hook = false", ""), fuzzed(t, command, "", env)
			flags, err := filepath.Glob(hooked.Path("run", "*.drain", "g*.web.0"))
			if err != nil || len(flags) != 1 {
				t.Fatalf("flags %v, %v", flags, err)
			}
			if err := drainhook.Set(flags[0], true); err != nil { // as if it drained; the daemon writes only changes
				t.Fatal(err)
			}
			var asking sync.WaitGroup
			turn := make(chan struct{}, 8)
			for i := range 120 {
				asking.Go(func() {
					turn <- struct{}{}
					defer func() { <-turn }()
					request, method := fuzzedRequest(i, strings.HasSuffix(command, "asgi"))
					without, with := askFuzzed(
						t, plain, request, method, false,
					), askFuzzed(t, hooked, request, method, true)
					granian := strings.HasPrefix(name, "granian")
					// it is random whether the head was sent before the body failed
					cut := granian && !without.whole && !with.whole
					if without.text != with.text && !cut {
						t.Errorf("%q\nwithout %s\nwith    %s", request, without.text, with.text)
					}
					// The hook cannot change the answers of these servers for a failed app: cheroot
					// closes the connection without announcing it, and granian keeps it open.
					failed := (granian || name == "cheroot") && !strings.Contains(with.text, "X-Seed")
					if with.whole && !failed && (!with.closes || !with.ended) {
						t.Errorf("%q: it does not close: %+v", request, with)
					}
				})
			}
			asking.Wait()
		})
	}
}

// fuzzedRequest is the ith request.
func fuzzedRequest(i int, websockets bool) (request, method string) {
	if websockets && i%30 == 29 {
		return fmt.Sprintf("GET /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", map[bool]string{
			true: "ws", false: "refused",
		}[i%60 == 29]), http.MethodGet
	}
	method = []string{http.MethodGet, http.MethodGet, http.MethodPost, http.MethodHead}[i%4]
	head := fmt.Sprintf("%s /%d HTTP/%s\r\nHost: x\r\n", method, i, []string{"1.1", "1.1", "1.0"}[i%3])
	head += []string{"", "", "", "Connection: close\r\n", "Connection: keep-alive\r\n"}[i%5]
	if method == http.MethodPost {
		return head + "Content-Length: 5\r\n\r\nhello", method
	}
	return head + "\r\n", method
}
