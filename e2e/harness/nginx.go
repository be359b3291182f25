package harness

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// nginx is a real nginx in front of the app, in the foreground, with all its files in the app's
// directory.
type nginx struct {
	program
	app     *App
	address string
}

// uwsgiParams is nginx's own file of that name.
const uwsgiParams = `QUERY_STRING $query_string
REQUEST_METHOD $request_method
CONTENT_TYPE $content_type
CONTENT_LENGTH $content_length
REQUEST_URI $request_uri
PATH_INFO $document_uri
DOCUMENT_ROOT $document_root
SERVER_PROTOCOL $server_protocol
REQUEST_SCHEME $scheme
REMOTE_ADDR $remote_addr
REMOTE_PORT $remote_port
SERVER_PORT $server_port
SERVER_NAME $server_name`

// startNginx starts nginx and waits for its first answer. nginx takes over a listener of ours, as
// in its own upgrade, so that no other process can get the port in between.
func (a *App) startNginx() {
	a.T.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	a.must(err)
	tcp := l.(*net.TCPListener)
	file, err := tcp.File()
	a.must(err)
	n := &nginx{app: a, address: l.Addr().String()}
	a.must(os.Mkdir(a.Path("nginx"), 0o755))
	a.WriteFile("nginx/nginx.conf", a.nginxConfig(n.address))

	n.cmd = exec.Command(NginxBinary(), "-p", a.Path("nginx"), "-c", "nginx.conf", "-e", "stderr")
	n.cmd.Dir = a.Dir
	n.cmd.Env = append(a.env(), "NGINX=3;")
	n.cmd.ExtraFiles = []*os.File{file}
	a.must(n.start())
	_, _ = l.Close(), file.Close()
	a.nginx = n

	client := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answered := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://" + n.address + "/nginx-answers")
		if err == nil {
			_ = resp.Body.Close()
		}
		answered <- err
	}()
	select {
	case err = <-answered:
	case <-n.exited:
		err = fmt.Errorf("it ended: %s", n.cmd.ProcessState)
	}
	if err != nil {
		a.Fatalf("start nginx: %v\n%s", err, n.log.String())
	}
}

// nginxConfig hides no failure: no retry, no other upstream, no marking as failed.
func (a *App) nginxConfig(address string) string {
	upstream := a.Address
	keep, connection := "", "close"
	if a.Options.Kept > 0 {
		// nginx closes an idle connection before any server does, as docs/nginx.md requires: the
		// shortest limit is gunicorn's 2 s.
		keep, connection = fmt.Sprintf("keepalive %d; keepalive_timeout 1s;", a.Options.Kept), `""`
	}
	pass := "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection " + connection +
		"; proxy_set_header Host $host; proxy_next_upstream off;"
	if a.Options.Server.UWSGI {
		var params strings.Builder
		for line := range strings.Lines(uwsgiParams) {
			fmt.Fprintf(&params, "uwsgi_param %s; ", strings.TrimSpace(line))
		}
		pass = params.String() + "uwsgi_pass app; uwsgi_next_upstream off;"
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // workers of another user would need permission for the app's socket
	}
	static := ""
	if a.Options.Static != "" {
		static = "location /static/ { alias " + a.Options.Static + "/; }"
	}
	return fmt.Sprintf(`daemon off;
%s
worker_processes 1;
pid nginx.pid;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	uwsgi_temp_path uwsgi;
	fastcgi_temp_path fastcgi;
	scgi_temp_path scgi;
	client_max_body_size 64m;
	%s
	upstream app { server %s max_fails=0; %s }
	server {
		listen %s;
		location = /nginx-answers { return 204; }
		%s
		location / { %s %s }
	}
}
`, user, a.Options.HTTP, upstream, keep, address, static, a.Options.Proxy, pass)
}

// stop stops nginx gracefully.
func (n *nginx) stop() {
	n.app.T.Helper()
	n.end(n.app.T, syscall.SIGQUIT)
	if n.app.T.Failed() && n.log.String() != "" {
		n.app.T.Logf("nginx said:\n%s", n.log.String())
	}
}

// NginxBinary returns nginx's path. In Debian it is not in the PATH of a user other than root.
func NginxBinary() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx"
}
