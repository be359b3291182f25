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
	"slices"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// balancer is in front of the app, as host web1, and of a server that stands for host web2.
type balancer struct {
	t       *testing.T
	dir     string
	address string   // of its unix socket
	drain   []string // the script in packaging, with its environment
}

// newBalancer returns a balancer that does not run yet, and the address of web2.
func newBalancer(t *testing.T, a *harness.App, script string, environ ...string) (b *balancer, web2 string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Served-By", "web2")
	}))
	t.Cleanup(server.Close)
	path, err := filepath.Abs(filepath.Join("..", "..", "packaging", script))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(a.Path("lb", "upstream"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &balancer{
		t: t, dir: a.Path("lb"), address: a.Path("lb", "socket"),
		drain: append(append([]string{"env"}, environ...), "sh", path),
	}, strings.TrimPrefix(server.URL, "http://")
}

// haproxy starts HAProxy as the balancer.
func haproxy(t *testing.T, a *harness.App) *balancer {
	t.Helper()
	b, web2 := newBalancer(t, a, "haproxy/drain", "SUPERCTL_HAPROXY="+a.Path("lb", "admin"))
	a.WriteFile("lb/haproxy.cfg", fmt.Sprintf(`global
    stats socket %s mode 660 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend site
    bind unix@%s
    default_backend shop
backend shop
    server web1 %s
    server web2 %s
`, a.Path("lb", "admin"), b.address, a.Address, web2))
	path := "/usr/sbin/haproxy"
	if found, err := exec.LookPath("haproxy"); err == nil {
		path = found
	}
	pid := a.Path("lb", "pid")
	b.exec(0, path, "-D", "-f", a.Path("lb", "haproxy.cfg"), "-p", pid)
	t.Cleanup(func() { // HAProxy leaves its sockets behind
		b.exec(0, "timeout", "60", "sh", "-c", "p=$(cat "+pid+"); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.05; done; "+
			"cd "+b.dir+"; rm admin socket pid")
	})
	return b
}

// nginx starts nginx as the balancer.
func nginx(t *testing.T, a *harness.App) *balancer {
	t.Helper()
	b, web2 := newBalancer(t, a, "nginx/drain", "SUPERCTL_UPSTREAM="+a.Path("lb", "upstream"),
		"SUPERCTL_NGINX="+strings.Join(nginxIn(a.Path("lb")), " "))
	a.WriteFile("lb/upstream/web1.conf", "server "+a.Address+";\n")
	a.WriteFile("lb/upstream/web2.conf", "server "+web2+";\n")
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
	b.exec(0, append(nginxIn(b.dir), "-g", "daemon on;")...)
	t.Cleanup(func() { b.exec(0, append(nginxIn(b.dir), "-s", "quit")...) })
	return b
}

// nginxIn is the command of nginx in a directory.
func nginxIn(dir string) []string {
	path := "/usr/sbin/nginx"
	if found, err := exec.LookPath("nginx"); err == nil {
		path = found
	}
	return []string{path, "-p", dir, "-c", "nginx.conf", "-e", filepath.Join(dir, "log")}
}

// command is a command of the drain script.
func (b *balancer) command(args ...string) []string { return slices.Concat(b.drain, args) }

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
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
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
	harness.Eventually(b.t, fmt.Sprintf("%s answers %d requests in a row", host, requests), func() bool {
		for range requests {
			if b.ask() != host {
				return false
			}
		}
		return true
	})
}

func TestTheHooksTakeAHostOutOfTheBalancer(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *harness.App) *balancer{"nginx": nginx, "HAProxy": haproxy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Top: `probation = "200ms"`})
			takeOutByHooks(t, a, start(t, a))
		})
	}
}

func takeOutByHooks(t *testing.T, a *harness.App, b *balancer) {
	t.Helper()
	out, in := tomlList(b.command("web1", "out")), tomlList(b.command("web1", "in"))
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
	b.await("web2", 20) // nginx may still be reading its config
	if said := b.exec(1, b.command("web2", "out")...); !strings.Contains(said, "no other host serves") {
		t.Error(said)
	}
	a.WriteFile("go", "")
	change.Wait().Want(0)
	b.await("web1", 1)

	a.Change(1, "switch", "bad")
	b.await("web1", 1)
	b.exec(0, b.command("web1", "out")...)
	b.exec(0, b.command("web1", "out")...) // nothing to do
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
