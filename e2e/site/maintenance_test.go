package site

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"superctl/e2e/harness"
	"superctl/load"
)

const back = "<h1>We are back at noon</h1>"

// maintained is a site with a page of its own.
func maintained(t *testing.T, opt harness.Options) *harness.App {
	t.Helper()
	a := harness.New(t, run, opt)
	a.Releases("r1", "r2")
	a.WriteFile("page.html", back)
	a.Start("r1")
	return a
}

func turnOn(a *harness.App, more ...string) *harness.Command {
	a.T.Helper()
	return a.Command(append([]string{"maintenance", "on", "--page", a.Path("page.html")}, more...)...).Want(0)
}

// statuses fails the test if a request got no answer, or another one than 200 and 503. It returns
// those that were sent in a window, by their status.
func statuses(t *testing.T, res *load.Result, w load.Window) map[int]int {
	t.Helper()
	for _, r := range res.Failed() {
		if r.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d: %s", r.Failure, r.Status, r.Err)
		}
	}
	n := make(map[int]int)
	for i := range res.Records {
		if r := &res.Records[i]; r.Begun.After(w.Began) && r.Ended.Before(w.Ended) {
			n[r.Status]++
		}
	}
	return n
}

func TestMaintenanceLeavesNoRequestWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server harness.Server
		front  harness.Front
		kept   int
	}{
		{harness.GunicornThreads(), harness.TCP, 0},
		{harness.GunicornThreads(), harness.Unix, 0},
		{harness.Uvicorn(), harness.NginxUnix, 16},
		{harness.UWSGISocket(), harness.NginxTCP, 0},
	} {
		t.Run(fmt.Sprintf("%s %s", c.server.Name, c.front), func(t *testing.T) {
			t.Parallel()
			a := maintained(t, harness.Options{Server: c.server.Bare(), Front: c.front, Kept: c.kept})
			requests := a.Load(load.Config{KeepAlive: c.kept > 0})
			turnOn(a)
			on := time.Now()
			a.More(requests, 50)
			a.Daemon.Kill()
			a.More(requests, 50)
			a.Start("")
			a.More(requests, 50)
			a.Command("switch", "r2").Want(0).Says("superctl maintenance off")
			a.More(requests, 50)
			off := time.Now()
			a.Command("maintenance", "off").Want(0).Says("reach", "r2")
			over := time.Now()
			a.More(requests, 50)
			res := requests.Stop()
			// A connection that nginx had kept leads to the app once more.
			if n := statuses(t, res, load.Window{Began: on, Ended: off}); n[503] < 200-c.kept || n[200] > c.kept || n[0] > 0 {
				t.Errorf("during the maintenance: %v", n)
			}
			if n := statuses(t, res, load.Window{Began: over, Ended: res.Ended}); n[200] == 0 || len(n) != 1 {
				t.Errorf("after the maintenance: %v", n)
			}
			for i := range res.Records {
				if r := &res.Records[i]; r.Begun.After(over) && r.Release != "r2" {
					t.Errorf("answered by %s after the deploy behind the page", r.Release)
				}
			}
			t.Logf("%d requests, %v", len(res.Records), res.Count())
		})
	}
}

func TestEverybodyIsToldOfMaintenance(t *testing.T) {
	t.Parallel()
	a := maintained(t, harness.Options{Server: harness.GunicornThreads().Bare()})
	turnOn(a, "--retry-after", "30m").Says("users get the maintenance page", "superctl maintenance off")
	turnOn(a, "--retry-after", "30m").Says("nothing to do")
	resp, err := http.Get("http://" + a.Address + "/any")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1800" {
		t.Errorf("%s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	a.Command("status").Want(0).Says("maintenance since")
	a.Command("status", "--exit-code").Want(1)
	a.Command("status", "--json").Want(0).Says(`"maintenance": {`, `"retry_after": 1800000000000`)
	if err := a.Daemon.Says(func(line string) bool {
		return strings.HasPrefix(line, "STATUS=maintenance since ")
	}); err != nil {
		t.Error(err)
	}
	a.Command("switch", "r2", "--canary", "5%").Want(1).Says("superctl maintenance off first")
	a.Command("maintenance", "off").Want(0)
	a.Command("maintenance", "off").Want(0).Says("nothing to do")
	a.Command("status", "--exit-code").Want(0)
	a.Command("history").Want(0).Says("maintenance on", "maintenance off")
}

func TestMaintenanceStaysUntilTheAppAnswers(t *testing.T) {
	t.Parallel()
	a := maintained(t, harness.Options{
		Server: harness.GunicornThreads().Bare(), Health: `headers = { X-Check = "yes" }`,
		Web: `start_timeout = "5s"`,
	})
	turnOn(a)
	if err := os.RemoveAll(a.Path("releases", "r1")); err != nil { // none of its workers can be started again
		t.Fatal(err)
	}
	for _, g := range a.Status().Generations {
		for _, w := range g.Workers {
			if w.Process == "web" {
				kill(t, w.PID)
			}
		}
	}
	harness.Eventually(t, "the worker is gone", func() bool { return a.Status().Health == "down" })
	a.Command("maintenance", "off").Want(1).Says("the maintenance page stays")
	resp, err := http.Get("http://" + a.Address + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("users get %s", resp.Status)
	}
	a.Command("switch", "r2").Want(0)
	a.Command("maintenance", "off").Want(0).Says("reach", "r2")
}

func TestMaintenanceOutlivesARestartOfTheSite(t *testing.T) {
	t.Parallel()
	a := maintained(t, harness.Options{Server: harness.GunicornThreads().Bare()})
	turnOn(a)
	a.Daemon.Stop()
	d := a.Start("")
	resp, err := http.Get("http://" + a.Address + "/")
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Output())
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("users get %s", resp.Status)
	}
	a.Command("upgrade").Want(0)
	a.Command("status").Want(0).Says("maintenance since")
	a.Command("maintenance", "off").Want(0)
	kill(t, a.Status().PID)
	harness.Eventually(t, "the workers are ended", func() bool { return a.Command("end").Code == 0 })
}

func TestAllowedNetworksReachTheAppDuringMaintenance(t *testing.T) {
	t.Parallel()
	a := maintained(t, harness.Options{Server: harness.GunicornThreads().Bare()})
	turnOn(a, "--allow", "127.0.0.0/8")
	requests := a.Load(load.Config{})
	a.Command("switch", "r2").Want(0)
	a.More(requests, 30)
	narrowed := time.Now()
	turnOn(a, "--allow", "192.0.2.0/24,2001:db8::/32").Says("let nginx choose", "--allow 2001:db8::/32 matches no client")
	on := time.Now()
	a.More(requests, 30)
	off := time.Now()
	a.Command("maintenance", "off").Want(0)
	a.More(requests, 30)
	res := requests.Stop()
	if n := statuses(t, res, load.Window{Began: on, Ended: off}); n[503] == 0 || n[200] > 0 {
		t.Errorf("during the maintenance: %v", n)
	}
	if n := statuses(t, res, load.Window{Ended: narrowed}); n[503] > 0 {
		t.Errorf("an allowed client got the page: %v", n)
	}
	a.Command("maintenance", "off").Want(0)
}

func TestNginxChoosesWhoReachesTheAppDuringMaintenance(t *testing.T) {
	t.Parallel()
	a := maintained(t, harness.Options{ // as docs/maintenance.md has it
		Server: harness.GunicornThreads().Bare(), Front: harness.NginxTCP,
		HTTP: `geo $maintenance_guest { default ""; 203.0.113.0/24 127.0.0.2; }
	set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;`,
		Proxy: "proxy_bind $maintenance_guest;",
	})
	status := func(client string) int {
		t.Helper()
		_, address := a.Target()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", client)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	const guest, other = "203.0.113.7", "198.51.100.7"
	if got := []int{status(guest), status(other)}; !slices.Equal(got, []int{200, 200}) {
		t.Errorf("before: %v", got)
	}
	turnOn(a, "--allow", "127.0.0.2/32")
	if got := []int{status(guest), status(other), status(guest)}; !slices.Equal(got, []int{200, 503, 200}) {
		t.Errorf("during maintenance a guest, another client and the guest again got %v", got)
	}
	a.Command("maintenance", "off").Want(0)
}
