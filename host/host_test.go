//go:build linux

package host

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"superctl/config"
)

func TestADaemonThatDoesNotAnswerHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string, answer http.HandlerFunc) config.Place {
		path := filepath.Join(dir, name+".sock")
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: answer, ReadHeaderTimeout: answerTime}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
		return config.Place{App: name, Control: path}
	}
	places := []config.Place{
		{App: "gone", Config: "/etc/superctl/gone.toml", Control: filepath.Join(dir, "gone.sock")},
		listen("shop", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"app":"shop","release":"r1"}`)) }),
		listen("stuck", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	}
	partly := func(w http.ResponseWriter, r *http.Request) { // it begins its answer
		_, _ = w.Write([]byte(`{"app":`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	places = append(places, listen("half", partly))
	// The client gives up at once, and not after answerTime: the reason is the context's either way.
	ctx, cancel := context.WithCancelCause(t.Context())
	apps := make(chan []App, 1)
	go func() { apps <- askPlaces(ctx, places) }()
	cancelled := askPlaces(t.Context(), places[:2])
	cancel(errors.New("it hangs"))
	for _, got := range (<-apps)[2:] {
		if got.Status != nil || !got.Running || got.Error != "it hangs" {
			t.Errorf("the daemon that hangs: %+v", got)
		}
	}
	gone, shop := cancelled[0], cancelled[1]
	if gone.Running || gone.Status != nil || !strings.Contains(gone.Error, "does not exist") || gone.Config == "" {
		t.Errorf("the daemon that is gone: %+v", gone)
	}
	if !shop.Running || shop.Error != "" || shop.Status == nil || shop.Status.Release != "r1" {
		t.Errorf("the daemon that answers: %+v", shop)
	}
}
