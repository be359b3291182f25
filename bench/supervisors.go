package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"superctl/e2e/apps"
)

// circus owns the socket; its workers inherit it and all accept from it.
type circus struct {
	site
	tools string // directory of circusd
}

func (c *circus) name() string { return "circus, uvicorn" }
func (c *circus) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	host, port := hostPort(s, address)
	ini := s.file("circus.ini", fmt.Sprintf(`[circus]
endpoint = ipc://%[1]s/endpoint
pubsub_endpoint = ipc://%[1]s/pubsub

[watcher:shop]
cmd = %[2]s --fd $(circus.sockets.web) --app-dir %[1]s/current shop.asgi:application
use_sockets = True
copy_env = True
numprocesses = 2
warmup_delay = %.0[3]f

[socket:web]
host = %[4]s
port = %[5]s
`, s.dir, c.currents("uvicorn"), delay, host, port))
	s.spawn(nil, nil, filepath.Join(c.tools, "bin", "circusd"), ini)
	// Its workers start one after the other.
	if !within(patience, func() bool { return strings.Contains(s.log(), "shop started") }) {
		s.Fatalf("circus does not start:\n%s", s.log())
	}
	return address
}

// turn retries while circus is still starting the previous release, which it reports as an error.
func (c *circus) turn(release string) (err error) {
	c.s.point(release)
	within(patience/4, func() bool {
		err = c.s.command(
			filepath.Join(c.tools, "bin", "circusctl"), "--endpoint", "ipc://"+c.s.path("endpoint"), "--timeout", "20",
			"reload", "shop", "--sequential",
		)
		return err == nil || !strings.Contains(err.Error(), "already running")
	})
	return err
}

// supervisord stops a program and starts it.
type supervisord struct {
	site
	tools string // directory of supervisord
}

func (c *supervisord) name() string { return "supervisord, gunicorn" }

func (c *supervisord) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	args := append([]string{c.currents("gunicorn")}, gunicornArgs(s, "--bind", address)...)
	conf := s.file("supervisord.conf", fmt.Sprintf(`[unix_http_server]
file = %[1]s/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://%[1]s/supervisor.sock

[supervisord]
logfile = %[1]s/supervisord.log
pidfile = %[1]s/supervisord.pid

[program:shop]
command = %[2]s
stdout_logfile = %[1]s/shop.log
redirect_stderr = true
`, s.dir, strings.Join(args, " ")))
	s.spawn(nil, nil, filepath.Join(c.tools, "bin", "supervisord"), "--nodaemon", "--configuration", conf)
	return address
}

func (c *supervisord) turn(release string) error {
	c.s.point(release)
	return c.s.command(
		filepath.Join(c.tools, "bin", "supervisorctl"), "--configuration", c.s.path("supervisord.conf"), "restart",
		"shop",
	)
}

// serverStarter owns the socket. It starts the next server and then stops the previous one.
type serverStarter struct{ site }

func (c *serverStarter) name() string { return "Server::Starter, gunicorn" }
func (c *serverStarter) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	args := []string{
		"--port=" + address, fmt.Sprintf("--kill-old-delay=%.0f", delay), "--pid-file=" + s.path("starter.pid"),
		"--status-file=" + s.path("starter.status"), "--",
	}
	args = append(args, "sh", "-c", `exec "$0" --bind "fd://${SERVER_STARTER_PORT##*=}" "$@"`, c.currents("gunicorn"), "--worker-class", "gthread", "--workers", "2", "--threads", "4",
		"--chdir", s.path("current"), "--no-control-socket", "shop.wsgi")
	s.spawn(nil, nil, "start_server", args...)
	return address
}

func (c *serverStarter) turn(release string) error {
	c.s.point(release)
	return c.s.command(
		"start_server", "--restart", "--pid-file="+c.s.path("starter.pid"), "--status-file="+c.s.path("starter.status"),
	)
}
