package site

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
	"superctl/load"
)

// turns is the number of changes of each site: two switches and a rollback.
const turns = 3

func TestNoRequestIsLostOrMisroutedOnAnyServer(t *testing.T) {
	t.Parallel()
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
		for i, front := range c.fronts {
			t.Run(c.server.Name+"/"+front.String(), func(t *testing.T) {
				t.Parallel()
				server := c.server
				if i > 0 {
					server = server.Bare() // Django has been switched on the first of them
				}
				switchAgainAndAgain(t, harness.Options{Server: server, Front: front})
			})
		}
	}
}

// A server handles its socket differently for each kind of socket.
func TestEveryServerFinishesItsRequestsDuringASwitch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server harness.Server
		fronts []harness.Front
	}{
		{harness.GunicornGevent(), []harness.Front{harness.TCP}},
		{harness.GunicornASGI(), []harness.Front{harness.Unix}},
		{harness.GunicornUvicorn(), []harness.Front{harness.TCP}},
		{harness.UWSGILazy(), []harness.Front{harness.TCP}},
		{harness.Hypercorn(), []harness.Front{harness.TCP}},
		{harness.GranianASGI(), []harness.Front{harness.Unix}},
		{harness.GranianWSGI(), []harness.Front{harness.TCP}},
		{harness.Daphne(), []harness.Front{harness.TCP, harness.Unix}},
		{harness.Waitress(), []harness.Front{harness.TCP}},
		{harness.Cheroot(), []harness.Front{harness.TCP, harness.Unix}},
		{harness.Node(), []harness.Front{harness.Unix}},
		{harness.Puma(), []harness.Front{harness.TCP, harness.Unix}},
		{run.Go(t), []harness.Front{harness.TCP}},
	} {
		for _, front := range c.fronts {
			t.Run(c.server.Name+"/"+front.String(), func(t *testing.T) {
				t.Parallel()
				// With the hook, the stop signal would come only after the request.
				patient := "start_timeout = \"60s\"\ndrain = \"30s\"\ndrain_hook = false"
				switchWithARequestInFlight(t, harness.Options{Server: c.server.Bare(), Front: front, Web: patient}, 2)
			})
		}
	}
}

// switchWithARequestInFlight switches back and forth. Each time, the old workers answer a request
// that they have begun only after their stop signal.
func switchWithARequestInFlight(t *testing.T, opt harness.Options, times int) {
	a := harness.New(t, run, opt)
	a.Releases("r1", "r2")
	a.Start("r1")
	requests := a.Load(load.Config{Rate: 40, Clients: 8})
	for i := range times {
		file, from, to := fmt.Sprintf("go-on-%d", i), fmt.Sprintf("r%d", 1+i%2), fmt.Sprintf("r%d", 2-i%2)
		slow := requestInFlight(t, a, "/slow?s=0&until="+a.Path(file))
		a.Command("switch", to).Want(0)
		harness.Eventually(t, "the old workers have got their stop signal", func() bool { return stopping(a.Status(), from) })
		a.More(requests, 20)
		a.WriteFile(file, "")
		if r := finished(t, slow); r.Failure != load.None || r.Release != from {
			t.Errorf("the request in flight: %s %s, answered by %q instead of %s", r.Failure, r.Err, r.Release, from)
		}
	}
	a.Lossless(requests)
	harness.Eventually(t, "the old workers have ended", func() bool { return len(a.Status().Generations) == 1 })
	if text := a.Daemon.Output(); strings.Contains(text, "drain limit reached") {
		t.Errorf("a worker did not end by itself:\n%s", text)
	}
}

// stopping reports whether a worker of the release is finishing its requests.
func stopping(s harness.Status, release string) bool {
	for _, g := range s.Generations {
		for _, w := range g.Workers {
			if g.Release == release && g.State == "draining" && w.State == "stopping" {
				return true
			}
		}
	}
	return false
}

func TestNoRequestIsLostOrMisroutedOnAnyAddress(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]string{"IPv6": "::1", "dual-stack": "::", "wildcard": "0.0.0.0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switchAgainAndAgain(t, harness.Options{Address: net.JoinHostPort(host, freePort(t))})
		})
	}
}

// freePort returns a port that is free on every address of the machine. A bound socket reserves it:
// a server with SO_REUSEADDR can still bind it, but the kernel does not use it for an outgoing
// connection.
func freePort(t *testing.T) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	must(unix.Bind(fd, &unix.SockaddrInet6{}))
	at, err := unix.Getsockname(fd)
	must(err)
	return strconv.Itoa(at.(*unix.SockaddrInet6).Port)
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
		if i == 2 {
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
