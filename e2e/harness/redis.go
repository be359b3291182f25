package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Redis is a real Redis of one app, in the app's directory, reachable by its unix socket only.
type Redis struct {
	app    *App
	cmd    *exec.Cmd
	log    syncBuffer
	exited chan struct{}
}

// StartRedis starts a Redis and waits until it accepts connections. It persists nothing.
func (a *App) StartRedis() *Redis {
	a.T.Helper()
	r := &Redis{app: a, exited: make(chan struct{})}
	a.must(os.Mkdir(a.Path("redis"), 0o755))
	r.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", r.Socket(), "--save", "", "--appendonly", "no",
		"--dir", filepath.Dir(r.Socket()))
	r.cmd.Dir, r.cmd.Env = a.Dir, a.env()
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	a.must(r.cmd.Start())
	go func() {
		_ = r.cmd.Wait()
		close(r.exited)
	}()
	a.redis = r
	if !r.log.await("ready to accept connections", r.exited) {
		a.Fatalf("Redis does not take connections:\n%s", r.log.String())
	}
	return r
}

// URL returns the broker URL for Celery.
func (r *Redis) URL() string { return "redis+socket://" + r.Socket() }

// Socket returns the path of its socket.
func (r *Redis) Socket() string { return r.app.Path("redis", "redis.sock") }

func (r *Redis) stop() {
	r.app.T.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(patience):
		_ = r.cmd.Process.Kill()
		<-r.exited
		r.app.T.Errorf("Redis did not end within %s\n%s", patience, r.log.String())
	}
}
