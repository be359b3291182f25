//go:build linux

package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Limits on what one client can ask of the process.
const (
	headerTimeout = 5 * time.Second
	stopTime      = 10 * time.Second // how long requests in progress are waited for
)

// Write writes the metrics in the text format of Prometheus.
func Write(w io.Writer, ask Ask) error {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{ask: ask, families: newFamilies()})
	list, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	for _, family := range list {
		if _, err := expfmt.MetricFamilyToText(w, family); err != nil {
			return err
		}
	}
	return nil
}

// Address is where metrics are served.
type Address struct{ network, address string }

// ParseAddress parses HOST:PORT or unix:PATH. A missing HOST would be every address of the machine, so
// it is an error.
func ParseAddress(text string) (Address, error) {
	if path, found := strings.CutPrefix(text, "unix:"); found {
		if !strings.HasPrefix(path, "/") {
			return Address{}, fmt.Errorf("%s: the path does not begin with /: use unix:/run/superctl-metrics.sock", text)
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	switch {
	case err != nil:
		return Address{}, fmt.Errorf("%q: not HOST:PORT or unix:PATH: use 127.0.0.1:9797", text)
	case host == "":
		return Address{}, fmt.Errorf("%s: the host is missing: use 127.0.0.1:%s", text, port)
	}
	return Address{"tcp", text}, nil
}

// Serve serves /metrics until ctx ends. It calls ready with the address when it accepts connections,
// and tells systemd.
func (a Address) Serve(ctx context.Context, handler http.Handler, ready func(at string)) error {
	if a.network == "unix" {
		if err := removeStale(a.address); err != nil {
			return err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, a.network, a.address)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: scrapeTime + stopTime,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	ready(l.Addr().String())
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return errors.Join(fmt.Errorf("notify systemd: %w", err), server.Close())
	}
	select {
	case err := <-ended:
		return fmt.Errorf("metrics: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// removeStale removes the socket of an earlier process, and nothing else.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("metrics: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("metrics: %s is not a socket: move it away, or use another path", path)
	}
	return os.Remove(path)
}
