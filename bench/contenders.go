package main

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"superctl/e2e/harness"
)

func contenders() []contender {
	return []contender{
		&superctl{title: "superctl, gunicorn", server: harness.GunicornThreads()},
		&superctl{title: "superctl, uWSGI", server: harness.Server{Command: "uwsgi --master --need-app --workers 2 --threads 4 --enable-threads --http-socket fd://{fd.web} --module shop.wsgi"}},
		&superctl{title: "superctl, uvicorn", server: harness.UvicornWorkers()},
		&gunicornHUP{},
		&gunicornUSR2{},
		&socketUnit{},
		&uwsgi{title: "uWSGI, SIGHUP"},
		&uwsgi{title: "uWSGI, chain reload", chain: true},
	}
}

// superctl is `superctl switch`.
type superctl struct {
	title  string
	server harness.Server
	app    *harness.App
	took   time.Duration // the longest cutover
}

func (c *superctl) name() string { return c.title }

func (c *superctl) start(s *scene) (network, address string) {
	c.app = harness.New(s, s.run, harness.Options{Server: c.server, Health: `interval = "250ms"`})
	for _, name := range names {
		c.app.Release(name, behaviour())
	}
	c.app.Start(names[0])
	return c.app.Target()
}

func (c *superctl) turn(release string) {
	o := c.app.Change(0, "switch", release)
	for _, step := range o.Steps {
		if text, ok := strings.CutSuffix(step.Detail, " ms"); ok && step.Name == "cutover" {
			if ms, err := strconv.ParseFloat(text, 64); err == nil {
				c.took = max(c.took, time.Duration(ms*float64(time.Millisecond)))
			}
		}
	}
}

func (c *superctl) cutover() string {
	return strconv.FormatFloat(float64(c.took.Microseconds())/1000, 'f', 2, 64) + " ms"
}

// gunicornArgs are the same for every bare gunicorn.
func gunicornArgs(s *scene, more ...string) []string {
	return append([]string{"--worker-class", "gthread", "--workers", "2", "--threads", "4", "--chdir", s.path("current"), "--no-control-socket", "--pid", s.path("pid"), "shop.wsgi"}, more...)
}

// gunicornHUP is gunicorn's own reload: the workers are replaced while it serves.
type gunicornHUP struct {
	s   *scene
	cmd *exec.Cmd
}

func (c *gunicornHUP) name() string    { return "gunicorn, SIGHUP" }
func (c *gunicornHUP) cutover() string { return "" }

func (c *gunicornHUP) start(s *scene) (network, address string) {
	s.make()
	c.s, address = s, s.freePort()
	c.cmd = s.spawn(nil, s.path("r1", "venv", "bin", "gunicorn"), gunicornArgs(s, "--bind", address)...)
	s.answering(address)
	return "tcp", address
}

func (c *gunicornHUP) turn(release string) {
	c.s.point(release)
	c.s.must(c.cmd.Process.Signal(syscall.SIGHUP))
}

// gunicornUSR2 is the upgrade that gunicorn's manual describes: a second master beside the first, which is then told to go.
type gunicornUSR2 struct {
	s       *scene
	address string
}

func (c *gunicornUSR2) name() string    { return "gunicorn, SIGUSR2 then SIGTERM" }
func (c *gunicornUSR2) cutover() string { return "" }

func (c *gunicornUSR2) start(s *scene) (network, address string) {
	s.make()
	c.s, c.address = s, s.freePort()
	s.spawn(nil, s.path("r1", "venv", "bin", "gunicorn"), gunicornArgs(s, "--bind", c.address)...)
	s.answering(c.address)
	return "tcp", c.address
}

func (c *gunicornUSR2) turn(release string) {
	c.s.point(release)
	old := c.pid("pid")
	c.s.must(syscall.Kill(old, syscall.SIGUSR2)) // ours: we have started it
	// The manual says to look whether the new workers are up; most scripts wait for a while.
	<-time.After(time.Duration((importing + 1) * float64(time.Second)))
	next := c.pid("pid.2")
	c.s.must(syscall.Kill(old, syscall.SIGTERM))
	for deadline := time.Now().Add(time.Minute); c.pid("pid") != next; {
		if time.Now().After(deadline) {
			c.s.Fatalf("the new gunicorn did not take over")
		}
		<-time.After(20 * time.Millisecond)
	}
	c.s.Cleanup(func() { _ = syscall.Kill(next, syscall.SIGKILL) })
}

func (c *gunicornUSR2) pid(name string) int {
	text, err := os.ReadFile(c.s.path(name))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// socketUnit is a gunicorn behind a socket unit of systemd that is restarted: the listener stays open and connections wait
// in its queue. The bench holds the socket as systemd does.
type socketUnit struct {
	s    *scene
	file *os.File
	cmd  *exec.Cmd
}

func (c *socketUnit) name() string    { return "gunicorn, socket unit and restart" }
func (c *socketUnit) cutover() string { return "" }

func (c *socketUnit) start(s *scene) (network, address string) {
	s.make()
	c.s = s
	l, err := net.Listen("tcp4", "127.0.0.9:0")
	s.must(err)
	c.file, err = l.(*net.TCPListener).File()
	s.must(err)
	s.Cleanup(func() { _ = c.file.Close(); _ = l.Close() })
	c.launch()
	address = l.Addr().String()
	s.answering(address)
	return "tcp", address
}

func (c *socketUnit) launch() {
	args := append([]string{"-c", `export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"`, c.s.path("r1", "venv", "bin", "gunicorn")}, gunicornArgs(c.s)...)
	c.cmd = c.s.spawn([]*os.File{c.file}, "sh", args...)
}

func (c *socketUnit) turn(release string) {
	c.s.point(release)
	c.s.must(c.cmd.Process.Signal(syscall.SIGTERM))
	for c.cmd.Process.Signal(syscall.Signal(0)) == nil {
		<-time.After(5 * time.Millisecond)
	}
	c.launch()
}

// uwsgi reloads gracefully: all at once, or worker by worker.
type uwsgi struct {
	title string
	chain bool
	s     *scene
	cmd   *exec.Cmd

	chained int
}

func (c *uwsgi) name() string    { return c.title }
func (c *uwsgi) cutover() string { return "" }

func (c *uwsgi) start(s *scene) (network, address string) {
	s.make()
	c.s, address = s, s.freePort()
	args := []string{
		"--master", "--need-app", "--workers", "2", "--threads", "4", "--enable-threads", "--http-socket", address, "--pythonpath", s.path("current"),
		"--module", "shop.wsgi", "--add-header", "Connection: close",
	}
	if c.chain {
		args = append(args, "--lazy-apps", "--disable-logging", "--master-fifo", s.path("fifo"))
	}
	c.cmd = s.spawn(nil, s.path("r1", "venv", "bin", "uwsgi"), args...)
	s.answering(address)
	return "tcp", address
}

func (c *uwsgi) turn(release string) {
	c.s.point(release)
	if !c.chain {
		c.s.must(c.cmd.Process.Signal(syscall.SIGHUP))
		return
	}
	// One that runs already is not begun anew, and it runs on for a while after its last worker answers.
	for deadline := time.Now().Add(time.Minute); c.completed() < c.chained; {
		if time.Now().After(deadline) {
			c.s.Fatalf("the chain reload did not end")
		}
		<-time.After(50 * time.Millisecond)
	}
	c.chained++
	c.s.must(os.WriteFile(c.s.path("fifo"), []byte("c"), 0)) // uWSGI's master FIFO: c is a chain reload
}

// completed is how many chain reloads have ended.
func (c *uwsgi) completed() int {
	log, err := os.ReadFile(c.s.path("log"))
	c.s.must(err)
	return strings.Count(string(log), "chain reloading complete")
}
