package main

import (
	"syscall"

	"superctl/e2e/apps"
)

// kamalProxy deploys like Kamal: a proxy, and behind it a server for each release. Kamal runs the
// servers in containers; here each is a gunicorn on its own port.
type kamalProxy struct {
	site
	binary  string
	servers map[string]*process // running servers by release
}

func (c *kamalProxy) name() string { return "kamal-proxy, gunicorn" }

// start runs the proxy and deploys r1 with it.
func (c *kamalProxy) start(s *scene, next apps.Behaviour) string {
	if c.binary == "" {
		s.Fatalf("scripts/deps --kamal-proxy could not build it")
	}
	c.prepare(s, next)
	address := s.freePort()
	_, port := hostPort(s, address)
	_, secure := hostPort(s, s.freePort())
	s.spawn(nil, nil, c.binary, "run", "--http-port", port, "--https-port", secure)
	c.servers = make(map[string]*process)
	if !within(patience, func() bool { return s.command(c.binary, "list") == nil }) {
		s.Fatalf("kamal-proxy does not run:\n%s", s.log())
	}
	s.must(c.turn(names[0]))
	return address
}

func (c *kamalProxy) turn(release string) error {
	if c.servers[release] != nil {
		return nil // it is live
	}
	target := c.s.freePort()
	next := c.s.spawn(nil, nil, c.s.path(
		release, "venv", "bin", "gunicorn",
	), "--worker-class", "gthread", "--workers", "2", "--threads", "4",
		"--chdir", c.s.path(release), "--no-control-socket", "--bind", target, "shop.wsgi")
	if err := c.s.command(
		c.binary, "deploy", "shop", "--target", target, "--health-check-path", "/healthz/", "--deploy-timeout", "10s",
	); err != nil {
		_ = next.signal(syscall.SIGTERM)
		return err
	}
	for name, old := range c.servers {
		_ = old.signal(syscall.SIGTERM)
		<-old.ended
		delete(c.servers, name)
	}
	c.servers[release] = next
	return nil
}
