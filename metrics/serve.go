//go:build linux

package metrics

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"superctl/host/serve"
)

// writeTime limits how long a client may take to read its answer after the scrape.
const writeTime = 10 * time.Second

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

// ParseAddress parses HOST:PORT or unix:PATH, where metrics are served.
func ParseAddress(text string) (serve.Address, error) {
	return serve.Parse(text, serve.Example{TCP: "127.0.0.1:9797", Unix: "unix:/run/superctl-metrics.sock"})
}

// Serve serves /metrics until ctx ends. It calls ready with the address when it accepts connections,
// and tells systemd.
func Serve(ctx context.Context, at serve.Address, handler http.Handler, ready func(at string)) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	if err := at.Serve(ctx, &http.Server{Handler: mux, WriteTimeout: scrapeTime + writeTime}, ready); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
