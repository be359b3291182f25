package site

import (
	"fmt"
	"net"
	"testing"

	"superctl/e2e/harness"
	"superctl/e2e/load"
)

// turns is how often each site is switched.
const turns = 20

func TestNoRequestIsLostOrMisroutedWhicheverServerAndListener(t *testing.T) {
	for _, c := range []struct {
		server harness.Server
		fronts []harness.Front
	}{
		{harness.GunicornSync(), []harness.Front{harness.TCP, harness.NginxUnix}},
		{harness.GunicornThreads(), []harness.Front{harness.TCP, harness.Unix, harness.NginxUnix}},
		{harness.UWSGIHTTP(), []harness.Front{harness.TCP, harness.NginxUnix}},
		{harness.UWSGISocket(), []harness.Front{harness.NginxTCP, harness.NginxUnix}},
		{harness.Uvicorn(), []harness.Front{harness.TCP, harness.NginxUnix}},
		{harness.UvicornWorkers(), []harness.Front{harness.TCP, harness.NginxUnix}},
	} {
		for _, front := range c.fronts {
			t.Run(c.server.Name+"/"+front.String(), func(t *testing.T) {
				t.Parallel()
				switchAgainAndAgain(t, harness.Options{Server: c.server, Front: front})
			})
		}
	}
}

func TestNoRequestIsLostOrMisroutedWhicheverAddress(t *testing.T) {
	for name, address := range map[string]func() string{
		"IPv6":       func() string { return "[::1]:" + freePort(t, "[::1]:0") },
		"dual-stack": func() string { return "[::]:" + freePort(t, "[::]:0") },
		"wildcard":   func() string { return "0.0.0.0:" + freePort(t, "0.0.0.0:0") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switchAgainAndAgain(t, harness.Options{Address: address()})
		})
	}
}

func freePort(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func switchAgainAndAgain(t *testing.T, opt harness.Options) {
	a := harness.New(t, run, opt)
	a.Releases("r1", "r2")
	a.Start("r1")
	requests := a.Load(load.Config{Rate: 60, Clients: 8})
	var cutovers []load.Cutover
	live := a.Status().Generation
	for i := range turns {
		args := []string{"switch", fmt.Sprintf("r%d", 2-i%2)}
		if i%3 == 2 {
			args = []string{"rollback"} // to the same
		}
		o := a.Change(0, args...)
		cutovers = append(cutovers, a.Cutover(live, o))
		live = o.Generation
		a.More(requests, 5)
	}
	res := a.Lossless(requests)
	if wrong := res.Misrouted(a.Via(), cutovers...); len(wrong) > 0 {
		t.Errorf("misrouted:\n%s", res.Describe(wrong))
	}
}

func TestKeepAliveClientsLoseNothing(t *testing.T) {
	for _, server := range []harness.Server{harness.GunicornThreads(), harness.Uvicorn()} {
		t.Run(server.Name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Server: server, Front: harness.NginxUnix})
			a.Releases("r1", "r2")
			a.Start("r1")
			requests := a.Load(load.Config{Rate: 100, Clients: 8, KeepAlive: true})
			for i := range 6 {
				a.Command("switch", fmt.Sprintf("r%d", 2-i%2)).Want(0)
				a.More(requests, 20)
			}
			a.Lossless(requests)
		})
	}
}
