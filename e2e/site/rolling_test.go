package site

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// rolled returns an app with three instances of a server, which a roll replaces one at a time.
func rolled(t *testing.T, server harness.Server, front harness.Front) *harness.App {
	t.Helper()
	return harness.New(t, run, harness.Options{
		Server: server, Front: front, Top: `probation = "200ms"`, Web: "strategy = \"rolling\"\ninstances = 3",
	})
}

// small is a server with one worker process, so that an instance needs little memory.
func small(s harness.Server, command string) harness.Server {
	s.Command = command
	return s
}

// watched counts the running workers of an app and their memory, repeatedly until stop.
func watched(t *testing.T, a *harness.App) (stop func() (most int, memory uint64)) {
	t.Helper()
	ended, watching := make(chan struct{}), sync.WaitGroup{}
	most, memory := 0, uint64(0)
	watching.Go(func() {
		for {
			n, bytes := 0, uint64(0)
			for _, g := range a.Status().Generations {
				bytes += g.MemoryBytes
				for _, w := range g.Workers {
					if w.PID != 0 {
						n++
					}
				}
			}
			most, memory = max(most, n), max(memory, bytes)
			select {
			case <-ended:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return func() (int, uint64) {
		close(ended)
		watching.Wait()
		return most, memory
	}
}

func TestARollNeedsMemoryForOneMoreWorker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server harness.Server
		front  harness.Front
		turns  int
	}{
		{small(harness.GunicornThreads(), "gunicorn --workers 1 --threads 4 bare.wsgi"), harness.TCP, 4},
		{small(harness.Uvicorn(), "uvicorn --fd {fd.web} bare.asgi:application"), harness.TCP, 2},
		{small(harness.GunicornSync(), "gunicorn --workers 1 bare.wsgi"), harness.NginxUnix, 2},
	} {
		t.Run(c.server.Name+"/"+c.front.String(), func(t *testing.T) {
			t.Parallel()
			a := rolled(t, c.server, c.front)
			a.Releases("r1", "r2")
			a.Start("r1")
			steady := a.Live(a.Status()).MemoryBytes
			requests := a.Load(requestsOfAFewUsers())
			count := watched(t, a)
			for i := range c.turns {
				args := []string{"switch", fmt.Sprintf("r%d", 2-i%2)}
				if i == 3 {
					args = []string{"rollback"}
				}
				if o := a.Change(0, args...); !o.Changed || len(o.Warnings) > 0 {
					t.Errorf("%+v", o)
				}
				a.More(requests, 5)
			}
			most, memory := count()
			// The preflight of a unix socket's is over before a worker is replaced.
			if most > 4 {
				t.Errorf("at once there were %d workers", most)
			}
			t.Logf("memory: %d MB with 3 workers, at most %d MB in a roll", steady>>20, memory>>20)
			a.Lossless(requests)
		})
	}
}

func TestARollThatFailsAtItsLastInstanceIsUndone(t *testing.T) {
	t.Parallel()
	a := rolled(t, small(harness.GunicornThreads(), "gunicorn --workers 1 --threads 4 bare.wsgi"), harness.TCP)
	a.Releases("r1")
	a.Release("bad", apps.Behaviour{Fault: apps.ImportError, Instance: "2"})
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	a.Command("switch", "bad").Want(1).Says("2 of 3 workers replaced", "shop_payments", "r1 is still live")
	harness.Eventually(t, "the old release is whole", func() bool {
		st := a.Status()
		return len(st.Generations) == 1 && st.Health == "ok" && len(st.Generations[0].Workers) == 3
	})
	a.Lossless(requests)
}

func TestTheOtherInstancesServeWhileOneIsKilled(t *testing.T) {
	t.Parallel()
	a := rolled(t, small(harness.GunicornThreads(), "gunicorn --workers 1 --threads 4 bare.wsgi"), harness.TCP)
	a.Releases("r1")
	a.Start("r1")
	first := a.Live(a.Status()).Workers
	requests := a.Load(load.Config{Rate: 40, Clients: 8, Timeout: time.Minute})
	for _, w := range first {
		kill(t, w.PID)
		harness.Eventually(t, "it is replaced", func() bool {
			now := a.Live(a.Status()).Workers
			return now[w.Instance].State == "ready" && now[w.Instance].PID != w.PID
		})
		a.More(requests, 10)
	}
	res := requests.Stop()
	// Only the requests in a killed worker are lost: those in its threads, and those that it had
	// accepted.
	if lost := res.Failed(); len(lost) > 3*4 {
		t.Errorf("lost: %s", res)
	}
	if !slices.ContainsFunc(res.Records, func(r load.Record) bool { return r.Failure == 0 }) {
		t.Error("nothing was answered")
	}
}
