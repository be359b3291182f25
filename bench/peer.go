package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// peer is a way to run the app and to bring a new release into it.
type peer interface {
	name() string
	start(s *scene, next apps.Behaviour) (at string) // creates r1, which is good, and r2, and runs r1
	// runs the command that deploys a release, and returns its error
	turn(release string) error
	// puts a release on disk where the next one belongs, without deploying it
	lie(release string)
}

// peers returns all peers, superctl first. Each is set up as its manual shows, with two workers of
// four threads if it has threads. A peer that can only wait a fixed time for readiness waits one
// second longer than the import takes.
func (o *options) peers() []peer {
	return []peer{
		&superctl{server: harness.GunicornThreads(), with: "gunicorn"},
		&superctl{
			server: harness.Server{Command: "uwsgi --master --need-app --workers 2 --threads 4 --enable-threads --http-socket fd://{fd.web} --module shop.wsgi"},
			with:   "uWSGI",
		},
		&superctl{server: harness.UvicornWorkers(), with: "uvicorn"},
		&superctl{
			server: harness.Server{Command: "granian --interface wsgi --workers 2 --blocking-threads 4 --respawn-failed-workers shop.wsgi:application"},
			with:   "granian",
		},
		&superctl{
			server: harness.Server{Command: "gunicorn --worker-class gthread --workers 1 --threads 4 shop.wsgi"},
			web:    "strategy = \"rolling\"\ninstances = 2", with: "gunicorn, rolling",
		},
		&gunicornHUP{},
		&gunicornUSR2{},
		&uwsgi{title: "uWSGI, SIGHUP"},
		&uwsgi{title: "uWSGI, chain reload", chain: true},
		&emperor{},
		uvicornHUP(),
		granianHUP(),
		hypercornHUP(),
		&circus{tools: o.tools},
		&supervisord{tools: o.tools},
		&serverStarter{},
		&socketUnit{},
		&kamalProxy{binary: o.kamal},
	}
}

// delay is the start-up time for peers that must be configured with one.
const delay = importing + 1

// site is a directory with releases and the link current, like those of Capistrano, Deployer and
// Ansible.
type site struct{ s *scene }

func (c *site) prepare(s *scene, next apps.Behaviour) {
	s.make()
	c.s = s
	s.release(names[0], behaviour())
	s.release(names[1], next)
	s.point(names[0])
}

func (c *site) lie(release string) { c.s.point(release) }

// venv returns the path of a program of the first release: a server that replaces itself keeps its
// interpreter.
func (c *site) venv(program string) string { return c.s.path(names[0], "venv", "bin", program) }

// currents returns the path of a program of the current release.
func (c *site) currents(program string) string { return c.s.path("current", "venv", "bin", program) }

// superctl deploys with `superctl switch`.
type superctl struct {
	with   string
	server harness.Server
	web    string // in [process.web]
	app    *harness.App
	s      *scene
}

func (c *superctl) name() string { return "superctl, " + c.with }

func (c *superctl) start(s *scene, next apps.Behaviour) string {
	c.app = harness.New(s, s.run, harness.Options{Server: c.server, Web: c.web, Health: `interval = "250ms"`})
	c.s, s.dir = s, c.app.Dir
	c.app.Release(names[0], behaviour())
	c.app.Release(names[1], next)
	c.app.Start(names[0])
	_, address := c.app.Target()
	return address
}

func (c *superctl) turn(release string) error {
	cmd := c.app.Command("switch", release)
	if cmd.Code == 0 {
		return nil
	}
	for line := range strings.Lines(cmd.Text()) {
		if strings.HasPrefix(line, c.app.Name+": ") {
			return fmt.Errorf(
				"exit code %d: %s", cmd.Code, strings.TrimSpace(strings.ReplaceAll(line, c.app.Name+": ", "")),
			)
		}
	}
	return fmt.Errorf("exit code %d", cmd.Code)
}

func (c *superctl) lie(release string) {
	c.s.link(c.app.Path("releases", release), c.app.Path("current"))
}

// gunicornArgs returns the options of every bare gunicorn.
func gunicornArgs(s *scene, more ...string) []string {
	return append(
		[]string{
			"--worker-class", "gthread", "--workers", "2", "--threads", "4", "--chdir", s.path("current"),
			"--no-control-socket", "--pid", s.path("pid"), "shop.wsgi",
		},
		more...,
	)
}

// gunicornHUP uses gunicorn's own reload, which replaces the workers while it serves.
type gunicornHUP struct {
	site
	server *process
}

func (c *gunicornHUP) name() string { return "gunicorn, SIGHUP" }

func (c *gunicornHUP) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	c.server = s.spawn(nil, nil, c.venv("gunicorn"), gunicornArgs(s, "--bind", address)...)
	return address
}

func (c *gunicornHUP) turn(release string) error {
	c.s.point(release)
	return c.server.signal(syscall.SIGHUP)
}

// gunicornUSR2 uses the upgrade in gunicorn's manual: start a second master, then stop the first.
type gunicornUSR2 struct{ site }

func (c *gunicornUSR2) name() string { return "gunicorn, SIGUSR2 then SIGTERM" }
func (c *gunicornUSR2) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	s.spawn(nil, nil, c.venv("gunicorn"), gunicornArgs(s, "--bind", address)...)
	return address
}

func (c *gunicornUSR2) turn(release string) error {
	c.s.point(release)
	old := c.s.number("pid")
	if err := c.s.signal(old, syscall.SIGUSR2); err != nil {
		return err
	}
	<-time.After(time.Duration(delay * float64(time.Second)))
	next := c.s.number("pid.2")
	if err := c.s.signal(next, 0); err != nil {
		return errors.New("the second master did not start")
	}
	if err := c.s.signal(old, syscall.SIGTERM); err != nil {
		return err
	}
	if !within(patience, func() bool { return c.s.number("pid") == next }) {
		return errors.New("the second master did not take over")
	}
	return nil
}

// socketUnit is a gunicorn behind a socket unit of systemd that is restarted: the listener stays
// open and connections wait in its queue. The bench holds the socket as systemd does.
type socketUnit struct {
	site
	file   *os.File
	server *process
}

func (c *socketUnit) name() string { return "systemd socket unit, gunicorn" }

func (c *socketUnit) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	l, err := net.Listen("tcp4", "127.0.0.9:0")
	s.must(err)
	c.file, err = l.(*net.TCPListener).File()
	s.must(err)
	s.Cleanup(func() { _ = c.file.Close(); _ = l.Close() })
	c.launch()
	return l.Addr().String()
}

func (c *socketUnit) launch() {
	args := append(
		[]string{"-c", `export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"`, c.currents("gunicorn")},
		gunicornArgs(c.s)...,
	)
	c.server = c.s.spawn([]*os.File{c.file}, nil, "sh", args...)
}

func (c *socketUnit) turn(release string) error {
	c.s.point(release)
	_ = c.server.signal(syscall.SIGTERM)
	<-c.server.ended
	c.launch()
	return nil
}
