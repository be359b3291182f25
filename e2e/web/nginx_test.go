package web

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"superctl/e2e/harness"
)

// shown is the example that docs/watching.md shows too.
var shown = filepath.Join("..", "..", "packaging", "nginx", "superctl-web.conf")

func TestNginxWithAPasswordPassesTheEventsOn(t *testing.T) {
	t.Parallel()
	a := watched{harness.New(t, run, harness.Options{})} // without a daemon: no app
	socket := a.Path("run", "page")
	serve(t, a, "unix:"+socket)
	address := startNginx(t, socket)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test's own
	}}
	ctx, cancel := harness.Limited(t.Context())
	defer cancel()
	ask := func(path, password string) (code int, body io.Reader) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
		must(t, err)
		if password != "" {
			r.SetBasicAuth("ann", password)
		}
		resp, err := client.Do(r)
		must(t, err)
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode, resp.Body
	}
	for password, code := range map[string]int{"": 401, "wrong": 401, "secret": 200} {
		for _, path := range []string{"/", "/events", "/page.js"} {
			if got, _ := ask(path, password); got != code {
				t.Errorf("%s with the password %q: %d, want %d", path, password, got, code)
			}
		}
	}
	events := 0
	_, body := ask("/events", "secret")
	for lines := bufio.NewScanner(body); events < 2 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), `data: {"host":`) {
			events++
		}
	}
	if events < 2 {
		t.Errorf("nginx passes on %d events", events)
	}
}

func TestTheDocumentShowsTheExampleForNginx(t *testing.T) {
	example, err := os.ReadFile(shown)
	must(t, err)
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "watching.md"))
	must(t, err)
	_, block, _ := strings.Cut(string(example), "\n\n")
	if !strings.Contains(string(doc), "```nginx\n"+block+"```\n") {
		t.Errorf("docs/watching.md does not show packaging/nginx/superctl-web.conf:\n%s", block)
	}
}

// startNginx starts nginx with the example in front of the page's socket, until the test ends.
func startNginx(t *testing.T, socket string) (address string) {
	t.Helper()
	dir := t.TempDir()
	certify(t, dir)
	must(t, os.WriteFile(filepath.Join(dir, "users"), []byte("ann:{PLAIN}secret\n"), 0o644))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	file, err := l.(*net.TCPListener).File()
	must(t, err)
	address = l.Addr().String()
	example, err := os.ReadFile(shown)
	must(t, err)
	text := string(example)
	for from, to := range map[string]string{
		"443 ssl": address + " ssl", "/run/superctl-web/web.sock": socket, "/etc/nginx/superctl-web.users": filepath.Join(dir, "users"),
		"/etc/nginx/apps.example.com.pem": filepath.Join(dir, "pem"), "/etc/nginx/apps.example.com.key": filepath.Join(dir, "key"),
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the example has no %s", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	must(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, `daemon off; %s pid nginx.pid;
events {}
http {
	access_log off; client_body_temp_path body; proxy_temp_path proxy;
	uwsgi_temp_path uwsgi; fastcgi_temp_path fastcgi; scgi_temp_path scgi;
	%s
}`, user, text), 0o644))
	// The listener is handed over as in nginx's own upgrade, so that no other process can get the port.
	cmd := exec.Command("nginx", "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "NGINX=3;"}
	if path, err := exec.LookPath("/usr/sbin/nginx"); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := new(strings.Builder)
	cmd.Stderr = log
	must(t, cmd.Start())
	_, _ = l.Close(), file.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("nginx: %v\n%s", err, log)
		}
	})
	return address
}

// certify writes a key and a certificate.
func certify(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"apps.example.com"}}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for name, block := range map[string]*pem.Block{
		"pem": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}
