package oldserver

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/takeover/oldserver"
)

var behaviour = apps.Behaviour{}

func itoa(n int) string { return strconv.Itoa(n) }

func asSockFilter(program []bpf.RawInstruction) unsafe.Pointer { return unsafe.Pointer(&program[0]) }

// repeats is how often each server is stopped: once, or SUPERCTL_TAKEOVERS times.
func repeats() int {
	if n, err := strconv.Atoi(os.Getenv("SUPERCTL_TAKEOVERS")); err == nil {
		return n
	}
	return 1
}

const (
	gunicorn = "gunicorn --no-control-socket --bind {bind} --workers 2 "
	uwsgi    = "uwsgi --master --need-app --processes 2 --module bare.wsgi --add-header Connection:close --listen 100 --http-socket {address}"
)

func TestAStoppedServerLosesNoRequest(t *testing.T) {
	for _, c := range []struct {
		name, command string
		unix          bool
	}{
		{"gunicorn sync", gunicorn + "bare.wsgi", false},
		{"gunicorn gthread", gunicorn + "--threads 12 bare.wsgi", false},
		{"gunicorn asgi", gunicorn + "--worker-class asgi bare.asgi:application", false},
		{"gunicorn uvicorn", gunicorn + "--worker-class uvicorn_worker.UvicornWorker bare.asgi:application", false},
		{"uvicorn", "uvicorn {uvicorn} bare.asgi:application", false},
		{"uvicorn workers", "uvicorn {uvicorn} --workers 2 --timeout-worker-healthcheck 300 bare.asgi:application", false},
		{"uwsgi", uwsgi, false},
		{"gunicorn sync unix", gunicorn + "bare.wsgi", true},
		{"gunicorn gthread unix", gunicorn + "--threads 12 bare.wsgi", true},
		{"gunicorn asgi unix", gunicorn + "--worker-class asgi bare.asgi:application", true},
		{"uvicorn unix", "uvicorn {uvicorn} bare.asgi:application", true},
		{"uvicorn workers unix", "uvicorn {uvicorn} --workers 2 --timeout-worker-healthcheck 300 bare.asgi:application", true},
		{"uwsgi unix", uwsgi + " --chmod-socket=666", true},
	} {
		for i := range repeats() {
			t.Run(fmt.Sprintf("%s %d", c.name, i), func(t *testing.T) { stopUnderLoad(t, c.command, c.unix) })
		}
	}
}

func stopUnderLoad(t *testing.T, command string, overUnix bool) {
	s := serve(t, command, overUnix)
	ctx, cancel := harness.Limited(context.Background())
	defer cancel()
	l := s.load()
	s.must(l.WaitMore(ctx, 100))
	s.replace()
	s.must(l.WaitMore(ctx, 100))
	old := s.found
	pids, err := old.PIDs()
	s.must(err)
	report, err := oldserver.Stop(ctx, old, oldserver.Options{Progress: func(step string) { t.Log(step) }})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%+v", report)
	if report.Killed > 0 || !s.gone(pids) {
		t.Errorf("processes did not end by themselves: %+v", report)
	}
	s.must(l.WaitMore(ctx, 100))
	result := l.Stop()
	t.Log(len(result.Records), "requests")
	if len(result.Failed()) > 0 {
		t.Error(result)
	}
}
