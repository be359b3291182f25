package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"superctl/api"
)

func TestALockLastsAsLongAsItsConnection(t *testing.T) {
	asked, ended := make(chan api.Lock, 1), make(chan struct{})
	path := serve(t, &app{lock: func(ctx context.Context, l api.Lock, locked func()) error {
		asked <- l
		locked()
		<-ctx.Done()
		close(ended)
		return nil
	}})
	ctx, release := context.WithCancel(t.Context())
	defer release()
	l := api.Lock{Why: "a deploy", Who: "the king", Origin: api.Origin{Run: "mine", Behalf: "anna"}}
	if err := NewClient(path, "shop").Lock(ctx, l, release); err != nil {
		t.Error(err)
	}
	<-ended
	if got := <-asked; got.Run != "mine" || got.Behalf != "anna" || got.Why != "a deploy" || got.Who == "the king" ||
		got.Peer == nil {
		t.Errorf("%+v", got)
	}
}

func TestALockThatEndsBeforeItBeginsIsAnError(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	daemon := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's
		_ = http.NewResponseController(w).Flush() // the answer has begun
		end()
		<-r.Context().Done()
	})}
	t.Cleanup(func() { _ = daemon.Close() })
	go func() { _ = daemon.Serve(listener) }()
	err = NewClient(path, "shop").Lock(ctx, api.Lock{Origin: api.Origin{Run: "mine"}}, func() { t.Error("it is locked") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestALockThatIsLostOrRefusedIsAnError(t *testing.T) {
	path := serve(t, &app{lock: func(_ context.Context, l api.Lock, locked func()) error {
		if l.Run == "second" {
			return &api.BusyError{Lock: &api.LockStatus{Lock: api.Lock{Why: "a deploy", Origin: api.Origin{Run: "first"}}}}
		}
		locked()
		return &api.RefusedError{Err: errors.New("the daemon is stopping")}
	}})
	held := false
	err := NewClient(path, "shop").Lock(t.Context(), api.Lock{Origin: api.Origin{Run: "first"}}, func() { held = true })
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !held {
		t.Errorf("lost: %v, held %t", err, held)
	}
	err = NewClient(path, "shop").Lock(t.Context(), api.Lock{Origin: api.Origin{Run: "second"}}, func() { t.Error("it is locked") })
	var busy *api.BusyError
	if !errors.As(err, &busy) || busy.Lock == nil || busy.Lock.Run != "first" {
		t.Errorf("refused: %v", err)
	}
}

func TestAReportOfARunNamesItsRealSender(t *testing.T) {
	var got api.RunReport
	path := serve(t, &app{report: func(r api.RunReport) error {
		got = r
		if r.Run == "wrong" {
			return &api.RefusedError{Usage: true, Err: errors.New("no hosts")}
		}
		return nil
	}})
	r := api.RunReport{Release: "r1", Who: "the king", Origin: api.Origin{Run: "mine", Behalf: "anna"}}
	if err := NewClient(path, "shop").Announce(t.Context(), r); err != nil {
		t.Error(err)
	}
	if got.Run != "mine" || got.Behalf != "anna" || got.Release != "r1" || got.Who == "the king" || got.Peer == nil {
		t.Errorf("%+v", got)
	}
	r.Run = "wrong"
	var refused *api.RefusedError
	if err := NewClient(path, "shop").Announce(t.Context(), r); !errors.As(err, &refused) || !refused.Usage {
		t.Errorf("refused: %v", err)
	}
}
