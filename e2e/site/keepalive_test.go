package site

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

// withoutHook turns the drain hook off, to run this test without it by hand.
func withoutHook() bool { return os.Getenv("SUPERCTL_E2E_DRAIN_HOOK") == "false" }

// switches returns n, or another number set by hand.
func switches(n int) int {
	if more, err := strconv.Atoi(os.Getenv("SUPERCTL_SWITCHES")); err == nil {
		return more
	}
	return n
}

func TestKeepAliveClientsLoseNothing(t *testing.T) {
	t.Parallel()
	const outlive = `drain_connections = "10s"`
	direct, nginx := harness.Options{}, harness.Options{Front: harness.NginxUnix, Kept: 16}
	for _, c := range []struct {
		server harness.Server
		fronts []harness.Options
	}{
		{harness.GunicornThreads(), []harness.Options{direct, nginx}},
		{harness.Uvicorn(), []harness.Options{direct, nginx}},
		{harness.Hypercorn(), []harness.Options{direct}},
		{harness.Waitress(), []harness.Options{nginx}},
		{harness.Cheroot(), []harness.Options{direct}},
		{harness.Daphne(), []harness.Options{direct}},
		{harness.GranianASGI(), []harness.Options{direct}},
		{harness.GranianWSGI(), []harness.Options{nginx}},
		{harness.Node(), []harness.Options{{Web: outlive}}},
		{harness.Puma(), []harness.Options{{Web: outlive}}},
		{run.Go(t), []harness.Options{direct}}, // it says that it looks at its flag
	} {
		for _, opt := range c.fronts {
			t.Run(c.server.Name+"/"+opt.Front.String(), func(t *testing.T) {
				t.Parallel()
				opt.Server = c.server.Bare()
				if withoutHook() {
					opt.Web = "drain_hook = false\ndrain_connections = \"0s\""
				}
				a := harness.New(t, run, opt)
				a.Releases("r1", "r2")
				a.Start("r1")
				// Each client keeps its connection, and all are busy at each stop signal.
				requests := a.Load(load.Config{Rate: 150, Clients: 8, KeepAlive: true})
				for i := range switches(2) {
					a.Command("switch", fmt.Sprintf("r%d", 2-i%2)).Want(0)
					a.More(requests, 30)
				}
				a.Lossless(requests)
			})
		}
	}
}

// idle is a kept-alive connection after one answered request.
func idle(t *testing.T, a *harness.App) *lasting {
	t.Helper()
	l := open(t, a)
	if release, closes := l.get(); release == "" || closes {
		t.Fatalf("%q answers, and closes: %v", release, closes)
	}
	return l
}

// get sends a request. It returns the release that answered, and whether the answer announced the
// close of the connection.
func (l *lasting) get() (release string, closes bool) {
	l.t.Helper()
	if _, err := io.WriteString(l, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		l.t.Fatal(err)
	}
	resp, err := http.ReadResponse(l.in, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	_ = resp.Body.Close() // it is read
	return resp.Header.Get("X-Release"), resp.Close
}

func TestTheHistoryShowsIdleConnectionsCutAtTheDrainLimit(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{
		Server: harness.Server{
			Name: "uvicorn", Command: "uvicorn --timeout-keep-alive 60 --fd {fd.web} shop.asgi:application",
		}, Web: `drain = "8s"`,
	})
	a.Releases("r1", "r2")
	a.Start("r1")
	held, used := idle(t, a), idle(t, a)
	a.Command("switch", "r2").Want(0)
	a.Daemon.Kill() // the next one must be able to tell the old workers too
	a.Start("")
	if n := draining(a); n != 2 {
		t.Errorf("%d connections drain", n)
	}
	// On the connection that is used again, the old release answers and closes.
	if release, closes := used.get(); release != "r1" || !closes {
		t.Errorf("%q answers, and closes: %v", release, closes)
	}
	if _, err := held.in.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	harness.Eventually(t, "the old generation is gone", func() bool { return len(a.Status().Generations) == 1 })
	a.Command("history").Want(0).Says("web.0 of r1 (generation 1) was told to stop after 8 s with 1 connection open")
}
