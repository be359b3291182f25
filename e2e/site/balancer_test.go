package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// balancer is nginx in front of the app, as host web1, and of a server that stands for host web2.
type balancer struct {
	t       *testing.T
	dir     string
	address string
	script  string // that of packaging/nginx
}

func newBalancer(t *testing.T, a *harness.App) *balancer {
	t.Helper()
	web2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Served-By", "web2")
	}))
	t.Cleanup(web2.Close)
	script, err := filepath.Abs("../../packaging/nginx/drain")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{t: t, dir: a.Path("lb"), script: script, address: a.Path("lb", "socket")}
	if err := os.MkdirAll(a.Path("lb", "upstream"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.WriteFile("lb/upstream/web1.conf", "server "+a.Address+";\n")
	a.WriteFile("lb/upstream/web2.conf", "server "+strings.TrimPrefix(web2.URL, "http://")+";\n")
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	a.WriteFile("lb/nginx.conf", fmt.Sprintf(`%s worker_processes 1; pid pid; error_log stderr;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	upstream shop { include upstream/*.conf; }
	server { listen unix:%s; location / { proxy_pass http://shop; } }
}
`, user, b.address))
	b.run(0, "-g", "daemon on;")
	t.Cleanup(func() { b.run(0, "-s", "quit") })
	return b
}

// nginx is the command of the balancer.
func (b *balancer) nginx() []string {
	path := "/usr/sbin/nginx"
	if found, err := exec.LookPath("nginx"); err == nil {
		path = found
	}
	return []string{path, "-p", b.dir, "-c", "nginx.conf", "-e", filepath.Join(b.dir, "log")}
}

func (b *balancer) run(code int, args ...string) {
	b.t.Helper()
	b.exec(code, append(b.nginx(), args...)...)
}

// drain is the command of packaging/nginx/drain.
func (b *balancer) drain(args ...string) []string {
	return append([]string{
		"env", "SUPERCTL_UPSTREAM=" + filepath.Join(b.dir, "upstream"), "SUPERCTL_NGINX=" + strings.Join(b.nginx(), " "),
		"sh", b.script,
	}, args...)
}

func (b *balancer) exec(code int, args ...string) string {
	b.t.Helper()
	said := filepath.Join(b.t.TempDir(), "said") // a file, because nginx in the background keeps it open
	f, err := os.Create(said)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	_ = cmd.Run() // the exit code says it
	out, err := os.ReadFile(said)
	if got := cmd.ProcessState.ExitCode(); got != code || err != nil {
		b.t.Fatalf("%q: exit code %d instead of %d\n%s%v", args, got, code, out, err)
	}
	return string(out)
}

// ask sends a request, which must not fail, and returns which host has answered.
func (b *balancer) ask() string {
	b.t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", b.address)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://shop/")
	if err != nil {
		b.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %v", resp.Status, resp.Header)
	}
	return cmp.Or(resp.Header.Get("Served-By"), "web1")
}

// await waits until as many requests in a row were answered by that host.
func (b *balancer) await(host string, requests int) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for inRow := 0; inRow < requests; inRow++ {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s does not answer %d requests in a row", host, requests)
		}
		if b.ask() != host {
			inRow = -1
		}
	}
}

func TestTheHooksTakeAHostOutOfTheBalancer(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `probation = "200ms"`})
	b := newBalancer(t, a)
	out, in := tomlList(b.drain("web1", "out")), tomlList(b.drain("web1", "in"))
	wait := tomlList([]string{"sh", "-c", "touch " + a.Path("at") + "; until [ -e " + a.Path("go") + " ]; do sleep 0.05; done"})
	a.Options.More = "[hooks]\nbefore_rollback = true\nbefore = [" + out + ", " + wait + "]\nafter = [" + in + "]\non_abort = [" +
		in + "]\non_revert = [" + in + "]\n"
	a.WriteConfig()
	a.Releases("r1", "r2")
	a.Release("bad", apps.Behaviour{Fault: apps.ExitsAtOnce})
	a.WriteFile("go", "")
	a.Start("r1")
	b.await("web1", 1)

	if err := errors.Join(os.Remove(a.Path("go")), os.Remove(a.Path("at"))); err != nil {
		t.Fatal(err)
	}
	change := a.Begin("switch", "r2")
	b.exec(0, "timeout", "60", "sh", "-c", "until [ -e "+a.Path("at")+" ]; do sleep 0.05; done")
	b.await("web2", 20) // nginx has read its config again
	if said := b.exec(1, b.drain("web2", "out")...); !strings.Contains(said, "no other host serves") {
		t.Error(said)
	}
	a.WriteFile("go", "")
	change.Wait().Want(0)
	b.await("web1", 1)

	a.Change(1, "switch", "bad")
	b.await("web1", 1)
	b.exec(0, b.drain("web1", "out")...)
	b.exec(0, b.drain("web1", "out")...) // nothing to do
	b.await("web2", 20)
}

// tomlList writes a list of strings.
func tomlList(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, strconv.Quote(w))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
