package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Redis is a real Redis of one app, in the app's directory, reachable by its unix socket only.
type Redis struct {
	program
	app *App
}

// StartRedis starts a Redis and waits until it accepts connections. It persists nothing.
func (a *App) StartRedis() *Redis {
	a.T.Helper()
	r := &Redis{app: a}
	a.must(os.Mkdir(a.Path("redis"), 0o755))
	r.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", r.Socket(), "--save", "", "--appendonly", "no",
		"--dir", filepath.Dir(r.Socket()))
	r.cmd.Dir, r.cmd.Env = a.Dir, a.env()
	a.must(r.start())
	a.redis = r
	if !r.says("ready to accept connections") {
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
	r.end(r.app.T, syscall.SIGTERM)
}
