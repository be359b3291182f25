package site

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

// plain is a minimal application, which answers 500 once a file exists.
const plain = `import os
headers = [(b"x-generation", os.environ["SUPERCTL_GENERATION"].encode()), (b"content-length", b"0")]
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 500 if os.path.exists("broken") else 200, "headers": headers})
    await send({"type": "http.response.body"})
`

func plainServer() harness.Server {
	return harness.Server{Name: "uvicorn", Command: "uvicorn plain:app --fd {fd.web} --no-access-log --lifespan off"}
}

// plainSite returns a site with two such releases, r1 and r2. r1 is live.
func plainSite(t *testing.T, opt harness.Options) *harness.App {
	t.Helper()
	opt.Server = plainServer()
	a := harness.New(t, run, opt)
	a.Releases("r1", "r2")
	for _, name := range []string{"r1", "r2"} {
		a.WriteFile("releases/"+name+"/plain.py", plain)
	}
	a.Start("r1")
	return a
}

// gets waits until the new generation gets its part of the connections, and returns the generation.
func gets(t *testing.T, a *harness.App, share float64) harness.Canary {
	t.Helper()
	var c *harness.Canary
	harness.Eventually(t, fmt.Sprintf("the canary gets %g %%", share), func() bool {
		st := a.Status()
		if st.Changing == nil || st.Changing.Canary == nil {
			return false
		}
		c = st.Changing.Canary
		return c.Share == share
	})
	return *c
}

// answeredBy counts the requests since a moment by the generation that answered.
func answeredBy(res *load.Result, from time.Time) map[int]int {
	n := make(map[int]int)
	for _, r := range res.Records {
		if r.Opened.After(from) {
			n[r.Generation]++
		}
	}
	return n
}

func TestACanaryGetsItsShareUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	const n, share = 10_000, 0.1
	a := plainSite(t, harness.Options{})
	change := a.Begin("switch", "r2", "--canary", "10%", "--for", "10m")
	gets(t, a, 10)
	a.Command("status").Want(0).Says("canary (10 %)", "1, 2 for 10 %")
	if l := a.Status().Listeners[0]; l.Generation != 1 || l.Canary != 2 {
		t.Errorf("%+v", l)
	}
	requests := a.Load(load.Config{Clients: 8, MaxRequests: n, Shapes: []load.Shape{load.Get("/")}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	if err := requests.Wait(ctx, func(all []load.Record) bool { return len(all) == n }); err != nil {
		t.Fatal(err)
	}
	res := requests.Stop()
	by := answeredBy(res, time.Time{})
	// 99.9 % of all samples of n are no further from the mean than 3.29 standard deviations.
	far := 3.2905 * math.Sqrt(n*share*(1-share))
	if len(res.Failed()) > 0 || math.Abs(float64(by[2])-n*share) > far || by[1]+by[2] != n {
		t.Errorf("answered by generation: %v, want %g more or less %.0f of the new one; %s", by, n*share, far, res)
	}
	t.Logf("answered by generation: %v", by)

	during := a.Load(load.Config{Rate: 100, Clients: 8, Shapes: []load.Shape{load.Get("/")}})
	change.Interrupt()
	change.Wait().Want(1)
	harness.Eventually(t, "nothing is left of it", func() bool {
		st := a.Status()
		return st.Changing == nil && len(st.Generations) == 1
	})
	turned := time.Now()
	a.More(during, 50)
	if by := answeredBy(a.Lossless(during), turned); by[2] > 0 || by[1] == 0 {
		t.Errorf("answered by generation after it: %v", by)
	}
}

func TestTheNetworksOfACanaryAreExactOnBothFamilies(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	a := plainSite(t, harness.Options{Address: net.JoinHostPort("::", port)})
	for _, c := range []struct {
		networks string
		share    float64
		from     map[string]int // the generation that answers, by the client's address
	}{
		{"127.0.7.0/24,::1/128", 0, map[string]int{
			"127.0.7.0": 2, "127.0.7.255": 2, "127.0.6.255": 1, "127.0.8.0": 1, "127.0.0.1": 1, "::1": 2,
		}},
		{"127.0.0.1/32,::2/127", 0, map[string]int{"127.0.0.1": 3, "127.0.0.2": 1, "::1": 1}},
		{"127.0.7.0/24", 100, map[string]int{"127.0.7.9": 4, "127.0.9.9": 4, "::1": 4}},
	} {
		args := []string{"switch", "r2", "--canary-from", c.networks, "--for", "10m"}
		if c.share > 0 {
			args = append(args, "--canary", fmt.Sprintf("%g%%", c.share))
		}
		change := a.Begin(args...)
		if got := strings.Join(gets(t, a, c.share).Networks, ","); got != c.networks {
			t.Errorf("status says %q", got)
		}
		a.Command("status").Want(0).Says(strings.Split(c.networks, ",")...)
		for source, want := range c.from {
			for range 20 {
				if got := asks(t, source, port); got != want {
					t.Errorf("canary from %s: generation %d answers %s, want %d", c.networks, got, source, want)
				}
			}
		}
		a.Command("rollback").Want(0).Says("r1 is live")
		change.Wait().Want(1).Says("rolled back by", "during its canary", "untouched")
		harness.Eventually(t, "nothing is left of it", func() bool {
			st := a.Status()
			return st.Changing == nil && len(st.Generations) == 1
		})
	}
}

// asks sends one request from an address, and returns the generation that answered.
func asks(t *testing.T, source, port string) (generation int) {
	t.Helper()
	to := "127.0.0.1"
	if strings.Contains(source, ":") {
		to = "::1"
	}
	dial := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: harness.Patience}
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{
		DialContext: dial.DialContext, DisableKeepAlives: true,
	}}
	resp, err := client.Get("http://" + net.JoinHostPort(to, port) + "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if _, err := fmt.Sscan(resp.Header.Get("X-Generation"), &generation); err != nil {
		t.Fatal(err)
	}
	return generation
}

func TestCanariesLoseNoRequest(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	requests := a.Load(load.Config{Rate: 100, Clients: 8})
	canary := func(release, check string) *harness.Command {
		return a.Command("switch", release, "--canary", "20%,60%", "--for", "150ms", "--check", "sh -c '"+check+"'")
	}
	for i := range 4 {
		release := fmt.Sprintf("r%d", 2-i%2)
		if i == 1 {
			canary(
				release, `echo "$SUPERCTL_RELEASE is bad at $SUPERCTL_CANARY_SHARE"; test $SUPERCTL_CANARY_SHARE != 60`,
			).Want(1).
				Says(
					release+" is bad at 20", "at 60 %: check", "exit code 1", "the last lines of the check",
					"| "+release+" is bad at 60", "untouched",
				)
		}
		canary(release, "true").Want(0)
		a.More(requests, 5)
	}
	by := answeredBy(a.Lossless(requests), time.Time{})
	if len(by) < 5 || by[0] > 0 {
		t.Errorf("answered by generation: %v", by)
	}
}

func TestAFailedCanaryCostsOnlyItsOwnRequests(t *testing.T) {
	t.Parallel()
	a := plainSite(t, harness.Options{})
	broken := a.Path("releases", "r2", "broken")
	for _, c := range []struct {
		how  string
		fail func(g harness.Generation)
		says string
		mend func()
	}{
		{
			"it answers 500", func(harness.Generation) { a.WriteFile("releases/r2/broken", "") }, "at 50 %: web: ",
			func() { _ = os.Remove(broken) },
		},
		{
			"it is killed", func(g harness.Generation) { kill(t, g.Workers[0].PID) }, "at 50 %: web.0 ended after",
			func() {},
		},
	} {
		t.Run(c.how, func(t *testing.T) {
			const clients = 8
			requests := a.Load(load.Config{Rate: 100, Clients: clients, Shapes: []load.Shape{load.Get("/")}})
			change := a.Begin("switch", "r2", "--canary", "10%,50%", "--for", "6s", "--json")
			gets(t, a, 50)
			staged := a.Status().Generations[0]
			c.fail(staged)
			if o := change.Wait().Want(1).Says(c.says).Outcome(); o.Result != "aborted" || o.Changed {
				t.Errorf("%+v", o)
			}
			over := time.Now()
			c.mend()
			a.More(requests, 50)
			if st := a.Status(); st.Release != "r1" || st.Health != "ok" || st.Changing != nil {
				t.Errorf("%+v", st)
			}
			res := requests.Stop()
			for _, r := range res.Failed() {
				// Only requests that the broken release answered, or had begun to answer, fail.
				// None was refused, and requests queued for the dead worker were answered.
				if own := r.Failure == load.ServerError && r.Generation == staged.ID; !own &&
					(c.how != "it is killed" || r.Connected.IsZero()) {
					t.Errorf("%+v", r)
				}
			}
			if by := answeredBy(res, over); by[staged.ID] > 0 || by[1] == 0 ||
				c.how == "it is killed" && len(res.Failed()) > clients {
				t.Errorf("answered by generation afterwards: %v; %s", by, res)
			}
			t.Logf("%s", res)
		})
	}
}

func TestARequestInACanaryOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	change := a.Begin("switch", "r2", "--canary", "100%", "--for", "10m")
	gets(t, a, 100)
	network, address := a.Target()
	// Longer than a worker without any request may take to end.
	slow, err := load.Start(load.Config{
		Network: network, Address: address, Clients: 1, MaxRequests: 1, Timeout: harness.Patience,
		Shapes: []load.Shape{load.Get("/slow?s=7")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slow.Stop() })
	harness.Eventually(t, "the request is in flight", func() bool { return a.Status().Generations[0].Connections > 0 })
	a.Daemon.Kill()
	change.Wait().Want(3)
	a.Start("")
	requests := a.Load(requestsOfAFewUsers())
	if r := finished(t, slow); r.Failure != 0 || r.Release != "r2" {
		t.Errorf("%+v", r)
	}
	if by := answeredBy(a.Lossless(requests), time.Time{}); len(by) != 1 || by[1] == 0 {
		t.Errorf("answered by generation: %v", by)
	}
	if st := a.Status(); st.Release != "r1" || st.Changing != nil {
		t.Errorf("%+v", st)
	}
}

func TestACanaryIsRefusedWhereTheListenerCannotBeDivided(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opt  harness.Options
		says string
	}{
		"unix socket":   {harness.Options{Front: harness.Unix}, "is a path, which leads to one generation at a time"},
		"shared socket": {harness.Options{Listen: `gate = "shared"`}, "has one queue for all generations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, c.opt)
			a.Releases("r1", "r2")
			a.Start("r1")
			for _, flags := range [][]string{{"--canary", "5%"}, {"--canary-from", "10.0.0.0/8"}} {
				a.Command(append([]string{"switch", "r2"}, flags...)...).Want(1).Says(
					`listener "web"`, c.says, `address = "127.0.0.1:8000"`, "without --canary",
				)
			}
			if st := a.Status(); st.Release != "r1" || len(st.Generations) != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}
