package site

import (
	"os"
	"syscall"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

func requestsOfAFewUsers() load.Config { return load.Config{Rate: 40, Clients: 8} }

// kill kills a process that the app started.
func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Signal(syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// slowRequest sends one request that takes that many seconds, and returns once a worker handles it.
func slowRequest(t *testing.T, a *harness.App, seconds string) *load.Run {
	t.Helper()
	return requestInFlight(t, a, "/slow?s="+seconds)
}

// requestInFlight sends one request, and returns once a worker handles it.
func requestInFlight(t *testing.T, a *harness.App, path string) *load.Run {
	t.Helper()
	network, address := a.Target()
	r, err := load.Start(load.Config{
		Network: network, Address: address, Clients: 1, MaxRequests: 1, Timeout: harness.Patience,
		Shapes: []load.Shape{load.Get(path)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop() })
	harness.Eventually(t, "the request is in flight", func() bool { return a.Live(a.Status()).Connections > 0 })
	return r
}

// finished waits for the end of a load of one request.
func finished(t *testing.T, r *load.Run) load.Record {
	t.Helper()
	ctx := t.Context()
	if err := r.Wait(ctx, func(records []load.Record) bool { return len(records) == 1 }); err != nil {
		t.Fatal(err)
	}
	return r.Stop().Records[0]
}

// at waits until the change in progress is at a step.
func at(t *testing.T, a *harness.App, step string) {
	t.Helper()
	harness.Eventually(t, "the change is at "+step, func() bool {
		c := a.Status().Changing
		return c != nil && c.Step == step
	})
}
