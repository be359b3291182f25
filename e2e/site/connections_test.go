package site

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// live is uvicorn with an application of WebSockets and server-sent events.
func live(t *testing.T, web string) *harness.App {
	t.Helper()
	a := harness.New(t, run, harness.Options{
		Server: harness.Server{Name: "live", Command: "uvicorn shop.live:application --fd {fd.web}"}, Web: web,
	})
	a.Releases("r1", "r2")
	a.Start("r1")
	return a
}

// lasting is a long-lived connection of a client, and the data that it received.
type lasting struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// connect opens a connection to path, with further headers, and reads the head of the answer.
func connect(t *testing.T, a *harness.App, path, headers string) *lasting {
	t.Helper()
	l := open(t, a)
	if _, err := fmt.Fprintf(l, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(l.in, nil) //nolint:bodyclose // it lasts until the connection is closed
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s: %v %+v", path, err, resp)
	}
	return l
}

// websocket opens a WebSocket, on which the server sends its release.
func websocket(t *testing.T, a *harness.App, release string) *lasting {
	t.Helper()
	l := connect(
		t, a, "/ws",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
	)
	if text := l.frame(2); text != release {
		t.Fatalf("the WebSocket is with %q", text)
	}
	return l
}

// frame reads a short frame with that opcode: 2 is data, 8 is close.
func (l *lasting) frame(opcode byte) string {
	l.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(l.in, head); err != nil {
		l.t.Fatalf("read a frame: %v", err)
	}
	text := make([]byte, head[1])
	if _, err := io.ReadFull(l.in, text); err != nil || head[0] != 0x80|opcode {
		l.t.Fatalf("frame %x %q: %v", head, text, err)
	}
	return string(text)
}

// echoes fails the test unless the WebSocket still works.
func (l *lasting) echoes() {
	l.t.Helper()
	// A client's frame is masked, here with zeros.
	if _, err := l.Write([]byte("\x82\x85\x00\x00\x00\x00hello")); err != nil {
		l.t.Fatal(err)
	}
	if text := l.frame(2); text != "hello" {
		l.t.Fatalf("the WebSocket echoes %q", text)
	}
}

// event reads the next event.
func (l *lasting) event() (string, error) {
	for {
		line, err := l.in.ReadString('\n')
		if text, ok := strings.CutPrefix(line, "data: "); ok || err != nil {
			return strings.TrimSpace(text), err
		}
	}
}

// draining returns the number of connections of the draining generation.
func draining(a *harness.App) (n int) {
	for _, g := range a.Status().Generations {
		if g.State == "draining" {
			n += g.Connections
		}
	}
	return n
}

func TestASwitchDoesNotWaitForLongLivedConnections(t *testing.T) {
	t.Parallel()
	a := live(t, `drain = "10s"`)
	ws, events := websocket(t, a, "r1"), connect(t, a, "/events", "")
	harness.Eventually(t, "both are counted", func() bool { return a.Live(a.Status()).Connections >= 2 })
	a.Command("switch", "r2").Want(0)
	if name, err := events.event(); err != nil || name != "r1" {
		t.Errorf("after the switch the events are %q, %v", name, err)
	}
	if n := draining(a); n == 0 {
		t.Errorf("%d connections drain", n)
	}
	// uvicorn closes WebSockets with this code at its stop signal.
	if reason := ws.frame(8); !strings.HasPrefix(reason, "\x03\xf4") { // 1012, service restart
		t.Errorf("the WebSocket was closed with %x", reason)
	}
	websocket(t, a, "r2").echoes()
	for {
		if _, err := events.event(); err != nil {
			break
		}
	}
	harness.Eventually(t, "r1 is gone", func() bool { return len(a.Status().Generations) == 1 })
}

func TestLongLivedConnectionsMayCloseBeforeTheStopSignal(t *testing.T) {
	t.Parallel()
	a := live(t, "drain = \"5s\"\ndrain_connections = \"10m\"")
	ws, events := websocket(t, a, "r1"), connect(t, a, "/events", "")
	a.Command("switch", "r2").Want(0)
	ws.echoes()
	if n := draining(a); n != 2 {
		t.Errorf("%d connections drain", n)
	}
	_ = events.Close()
	harness.Eventually(t, "one is left", func() bool { return draining(a) == 1 })
	a.Daemon.Kill()
	a.Start("")
	ws.echoes()
	_ = ws.Close()
	harness.Eventually(t, "r1 is gone", func() bool { return len(a.Status().Generations) == 1 })
	websocket(t, a, "r2")
}
