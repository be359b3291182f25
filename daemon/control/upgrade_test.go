package control

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/api"
)

func TestARequestThatMeetsAnUpgradeGoesToTheNextDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	arrived, goOn := make(chan string, 2), make(chan struct{})
	stopping := &api.RefusedError{Err: errors.New("the daemon is stopping")}
	first, err := Listen(path, -1, &app{
		change: func(_ context.Context, req api.Request, _ emitter) (*api.Outcome, error) {
			arrived <- req.Release
			<-goOn
			return nil, stopping
		},
		signal: func(req api.SignalRequest) (*api.Signaled, error) {
			arrived <- req.Process
			<-goOn
			return nil, stopping
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, first)
	fd := -1
	if err := first.Descriptor(func(from int) error {
		fd, err = unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		out, err := NewClient(path, "shop").Change(t.Context(), api.Request{Kind: api.Switch, Release: "r2"}, func(api.Event) {})
		if err != nil || out.Result != api.Done {
			t.Errorf("switch: %+v, %v", out, err)
		}
	})
	asking.Go(func() {
		out, err := NewClient(path, "shop").Signal(t.Context(), api.SignalRequest{Process: "web"})
		if err != nil || out == nil {
			t.Errorf("signal: %+v, %v", out, err)
		}
	})
	<-arrived
	<-arrived
	first.LeaveToNext()
	next, err := Inherit(fd, path, -1, &app{
		change: func(_ context.Context, req api.Request, _ emitter) (*api.Outcome, error) {
			if req.Kind != api.Switch || req.Release != "r2" {
				t.Errorf("the next daemon is asked for %+v", req)
			}
			return &api.Outcome{Result: api.Done}, nil
		},
		signal: func(req api.SignalRequest) (*api.Signaled, error) {
			if req.Process != "web" {
				t.Errorf("the next daemon is asked for %+v", req)
			}
			return &api.Signaled{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, next)
	close(goOn)
	asking.Wait()
}

func TestAConnectionThatWasAcceptedBeforeTheEndIsAnswered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	early := dial(t, path)
	answers(t, path) // so the server has accepted the one before, too
	end()
	for {
		c, err := net.Dial("unix", path)
		if err != nil {
			break // the server has begun to end
		}
		_ = c.Close()
	}
	if _, err := io.WriteString(early, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(early)
	if !strings.Contains(string(answer), "200 OK") {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheNextDaemonAnswersEarlierConnections(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := first.Descriptor(func(from int) error {
		fd, err = unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	first.LeaveToNext()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	waiting := dial(t, path)
	if _, err := io.WriteString(waiting, "GET /v1/status HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	next, err := Inherit(fd, path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, next)
	answer, err := io.ReadAll(waiting)
	if err != nil || !strings.Contains(string(answer), `"release":"r1"`) {
		t.Errorf("%s %v", answer, err)
	}
}
