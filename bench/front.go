package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"superctl/e2e/harness"
)

// front starts an nginx in front of a server, with the same config for all servers: one port with a
// new connection to the server for each request, as docs/nginx.md recommends, and one port with
// kept-alive connections. nginx does not retry, so it hides no failure.
func (s *scene) front(server string) (fresh, kept string) {
	dir, err := os.MkdirTemp(s.run.Dir, "n") // not in the server's directory: its memory must not count
	s.must(err)
	s.Cleanup(func() {
		harness.EndAll(dir)
		_ = os.RemoveAll(dir)
	})
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	fresh, kept = s.freePort(), s.freePort()
	// Every server keeps idle connections for more than a second, so nginx always closes them
	// first.
	conf := fmt.Sprintf(`daemon off;
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
	proxy_http_version 1.1;
	proxy_set_header Host $host;
	proxy_next_upstream off;
	upstream fresh { server %[2]s max_fails=0; }
	upstream kept { server %[2]s max_fails=0; keepalive 16; keepalive_timeout 1s; }
	server { listen %[3]s; location / { proxy_pass http://fresh; proxy_set_header Connection close; } }
	server { listen %[4]s; location / { proxy_pass http://kept; proxy_set_header Connection ""; } }
}
`, user, server, fresh, kept)
	s.must(os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o644))
	cmd := exec.Command(harness.NginxBinary(), "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	cmd.Env = append(os.Environ(), "SHOP_E2E_RUN="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.must(cmd.Start())
	s.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its workers too
		_ = cmd.Wait()
	})
	s.answering(fresh)
	s.answering(kept)
	return fresh, kept
}
