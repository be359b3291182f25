package site

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
)

// A client may connect to the old workers just before the cutover, and send its request, or the rest
// of it, when they are already to stop. Without the drain hook, these servers would close such a
// connection at their stop signal: Puma if nothing has arrived, uvicorn if a part has.
func TestARequestThatArrivesAfterTheCutoverIsAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server harness.Server
		front  harness.Front
	}{
		{harness.Puma(), harness.TCP},
		{harness.Puma(), harness.Unix},
		{harness.Uvicorn(), harness.TCP},
		{harness.GranianWSGI(), harness.TCP},
	} {
		t.Run(c.server.Name+"/"+c.front.String(), func(t *testing.T) {
			t.Parallel()
			requestsArriveAfterTheCutover(t, harness.Options{
				Server: c.server.Bare(), Front: c.front, Web: "drain_hook = false",
			})
		})
	}
}

func requestsArriveAfterTheCutover(t *testing.T, opt harness.Options) {
	a := harness.New(t, run, opt)
	a.Releases("r1", "r2")
	a.Start("r1")
	c := a.Converse("switch", "r2", "--prepare", "--json")
	c.Await(`{"ready":true,"release":"r2"}`)
	const request = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd"
	sent := map[string]int{"nothing": 0, "a part of the head": 12, "the head": len(request) - 4}
	conns := make(map[string]*lasting)
	for what, n := range sent {
		conns[what] = open(t, a)
		if _, err := io.WriteString(conns[what], request[:n]); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "they are accepted", func() bool { return a.Live(a.Status()).Connections >= len(sent) })
	c.Type("go")
	harness.Eventually(t, "the old workers wait for answers", func() bool { return waitsForAnswers(a.Status(), "r1") })
	for what, n := range sent {
		if release := conns[what].ask(request[n:]); release != "r1" {
			t.Errorf("of a request, %s had been sent before the cutover: answered by %q", what, release)
		}
	}
	c.Wait().Want(0)
	harness.Eventually(t, "the old workers have ended", func() bool { return len(a.Status().Generations) == 1 })
}

// waitsForAnswers reports whether the stop signal of a worker of the release waits for answers.
func waitsForAnswers(s harness.Status, release string) bool {
	for _, g := range s.Generations {
		for _, w := range g.Workers {
			if g.Release == release && w.WaitsFor == "answers" {
				return true
			}
		}
	}
	return false
}

// open connects to the site and sends nothing.
func open(t *testing.T, a *harness.App) *lasting {
	t.Helper()
	network, address := a.Target()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		t.Fatal(err)
	}
	return &lasting{t, c, bufio.NewReader(c)}
}

// ask sends the bytes, closes the connection after the answer, and returns the release that answered,
// or an error.
func (l *lasting) ask(bytes string) string {
	defer l.Close()
	if _, err := io.Copy(l, strings.NewReader(bytes)); err != nil {
		return err.Error()
	}
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return err.Error()
	}
	_ = resp.Body.Close()
	return resp.Header.Get("X-Release")
}
