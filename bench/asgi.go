package main

import (
	"net"
	"syscall"

	"superctl/e2e/apps"
)

// reloading is a server that restarts its workers on SIGHUP, each in a new interpreter that reads
// PYTHONPATH again.
type reloading struct {
	site
	title  string
	args   func(host, port string) []string // starting with the program
	server *process
}

func uvicornHUP() *reloading {
	return &reloading{title: "uvicorn, SIGHUP", args: func(host, port string) []string {
		return []string{"uvicorn", "--host", host, "--port", port, "--workers", "2", "shop.asgi:application"}
	}}
}

func granianHUP() *reloading {
	return &reloading{title: "granian, SIGHUP", args: func(host, port string) []string {
		return []string{
			"granian", "--interface", "wsgi", "--host", host, "--port", port, "--workers", "2", "--blocking-threads",
			"4", "--respawn-failed-workers", "shop.wsgi:application",
		}
	}}
}

func hypercornHUP() *reloading {
	return &reloading{title: "hypercorn, SIGHUP", args: func(host, port string) []string {
		return []string{"hypercorn", "--bind", net.JoinHostPort(host, port), "--workers", "2", "shop.asgi:application"}
	}}
}

func (c *reloading) name() string { return c.title }

func (c *reloading) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	args := c.args(hostPort(s, address))
	c.server = s.spawn(nil, []string{"PYTHONPATH=" + s.path("current")}, c.venv(args[0]), args[1:]...)
	return address
}

func (c *reloading) turn(release string) error {
	c.s.point(release)
	return c.server.signal(syscall.SIGHUP)
}

func hostPort(s *scene, address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	s.must(err)
	return host, port
}
