package main

import (
	"os"
	"strings"
	"syscall"
	"time"

	"superctl/e2e/apps"
)

// uwsgi reloads gracefully: all workers at once, or one after the other. Without the header it
// closes connections that it announced to keep alive.
type uwsgi struct {
	site
	title   string
	chain   bool
	server  *process
	chained int
}

func (c *uwsgi) name() string { return c.title }

func (c *uwsgi) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	args := []string{
		"--master", "--need-app", "--workers", "2", "--threads", "4", "--enable-threads", "--http-socket", address,
		"--pythonpath", s.path("current"),
		"--module", "shop.wsgi", "--add-header", "Connection: close",
	}
	if c.chain {
		args = append(args, "--lazy-apps", "--disable-logging", "--master-fifo", s.path("fifo"))
	}
	c.server = s.spawn(nil, nil, c.venv("uwsgi"), args...)
	return address
}

func (c *uwsgi) turn(release string) error {
	c.s.point(release)
	if !c.chain {
		return c.server.signal(syscall.SIGHUP)
	}
	// uWSGI ignores a reload while another one is in progress, which lasts for a while after the
	// last worker answers.
	within(10*time.Second, func() bool { return strings.Count(c.s.log(), "chain reloading complete") >= c.chained })
	c.chained++
	fifo, err := os.OpenFile(c.s.path("fifo"), os.O_WRONLY|syscall.O_NONBLOCK, 0) // without a reader it does not block
	if err != nil {
		return err
	}
	defer fifo.Close()
	_, err = fifo.WriteString("c")
	return err
}

// emperor is uWSGI's own supervisor: it watches the config files of its vassals, and reloads a
// vassal whose file was touched.
type emperor struct{ site }

func (c *emperor) name() string { return "uWSGI, Emperor" }

func (c *emperor) start(s *scene, next apps.Behaviour) string {
	c.prepare(s, next)
	address := s.freePort()
	s.file("vassals/shop.ini", "[uwsgi]\nmaster = true\nneed-app = true\nworkers = 2\nthreads = 4\nenable-threads = true\nhttp-socket = "+address+
		"\npythonpath = "+s.path("current")+"\nmodule = shop.wsgi\nadd-header = Connection: close\n")
	s.spawn(nil, nil, c.venv("uwsgi"), "--emperor", s.path("vassals"))
	return address
}

func (c *emperor) turn(release string) error {
	c.s.point(release)
	now := time.Now()
	return os.Chtimes(c.s.path("vassals", "shop.ini"), now, now)
}
