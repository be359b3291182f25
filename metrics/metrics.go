//go:build linux

// Package metrics turns what the daemons of a host say into metrics of Prometheus. It asks the
// daemons when it is scraped, and keeps nothing: all totals are the daemons' own.
package metrics

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"superctl/api"
	"superctl/host"
)

// scrapeTime limits one scrape. It is longer than a daemon may take to answer, and shorter than
// Prometheus waits (scrape_timeout, 10 s by default).
const scrapeTime = 8 * time.Second

// Ask returns the figures of all apps of the host, as host.Measure does.
type Ask func(ctx context.Context) ([]host.Measured, error)

// Handler returns the handler of /metrics.
func Handler(ask Ask) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{ask: ask, families: newFamilies()})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: scrapeTime + time.Second,
	})
}

type collector struct {
	ask      Ask
	families *families
}

// Describe sends the descriptions of all metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range c.families.all {
		ch <- desc
	}
}

// Collect asks the daemons and sends their metrics.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	apps, unreadable := c.ask(ctx)
	s := sender{families: c.families, ch: ch}
	failed := 0.0
	if unreadable != nil {
		failed = 1
	}
	s.gauge(s.searchFailed, failed)
	named := make(map[string]bool) // two daemons may say that they run the same app
	for i := range apps {
		name := apps[i].Name
		if named[name] {
			continue
		}
		named[name] = true
		if apps[i].Status == nil {
			s.gauge(s.up, 0, name)
			continue
		}
		s.gauge(s.up, 1, name)
		s.app(name, apps[i].Status)
		s.generations(name, apps[i].Status)
		s.requestsOf(name, &apps[i].Measures)
		s.changes(name, apps[i].Measures.Changes)
	}
}

// sender sends the metrics of one scrape.
type sender struct {
	*families
	ch chan<- prometheus.Metric
}

func (s *sender) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, valid(labels)...)
}

func (s *sender) counter(d *prometheus.Desc, value uint64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), valid(labels)...)
}

// valid returns the labels in UTF-8. A release is a directory, whose name may be any bytes.
func valid(labels []string) []string {
	for i, label := range labels {
		labels[i] = strings.ToValidUTF8(label, "\uFFFD")
	}
	return labels
}

func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

// app sends the metrics of the app as a whole.
func (s *sender) app(name string, st *api.Status) {
	for _, health := range []string{api.HealthOK, api.HealthDegraded, api.HealthDown} {
		s.gauge(s.health, flag(st.Health == health), name, health)
	}
	s.gauge(s.daemonStart, seconds(st.Since), name)
	s.gauge(s.changing, flag(st.Changing != nil), name)
	share := 0.0
	if st.Changing != nil && st.Changing.Canary != nil {
		share = st.Changing.Canary.Share / 100
	}
	s.gauge(s.canary, share, name)
	if st.Release != "" {
		s.gauge(s.release, 1, name, st.Release, st.Commit, strconv.Itoa(st.Generation))
		s.gauge(s.liveSince, seconds(st.LiveSince), name, st.Release)
	}
	for _, p := range st.Processes {
		s.gauge(s.wanted, float64(p.Wanted), name, p.Name)
		s.gauge(s.ready, float64(p.Ready), name, p.Name)
	}
	for _, l := range st.Listeners {
		s.gauge(s.queue, float64(l.Queue), name, l.Name)
		s.gauge(s.queueLimit, float64(l.QueueLimit), name, l.Name)
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// generations sends the metrics of each generation and its workers.
func (s *sender) generations(name string, st *api.Status) {
	for i := range st.Generations {
		g := &st.Generations[i]
		id := strconv.Itoa(g.ID)
		s.gauge(s.state, 1, name, g.Release, id, g.State)
		s.gauge(s.connections, float64(g.Connections), name, g.Release, id)
		memory := make(map[string]uint64)
		for _, w := range g.Workers {
			memory[w.Process] += w.MemoryBytes
			restarts := uint64(max(w.Restarts, 0)) //nolint:gosec // not negative
			s.counter(s.restarts, restarts, name, w.Process, g.Release, id, strconv.Itoa(w.Instance))
		}
		for process, bytes := range memory {
			s.gauge(s.memory, float64(bytes), name, process, g.Release, id)
		}
	}
}

// changes sends the totals of the changes. Those of deploys are there from the beginning: Prometheus sees
// no increase in a counter whose first value is 1.
func (s *sender) changes(name string, totals []api.ChangeTotal) {
	for _, kind := range []string{"switch", "rollback", "reload"} {
		for _, outcome := range []api.Result{api.Done, api.Aborted, api.Reverted} {
			if !slices.ContainsFunc(totals, func(t api.ChangeTotal) bool { return t.Kind == kind && t.Outcome == outcome }) {
				s.counter(s.changeCount, 0, name, kind, string(outcome))
			}
		}
	}
	for _, t := range totals {
		buckets := make(map[float64]uint64)
		for i, bound := range api.ChangeBounds() {
			if i < len(t.Within) {
				buckets[bound] = t.Within[i]
			}
		}
		s.counter(s.changeCount, t.Count, valid([]string{name, t.Kind, string(t.Outcome)})...)
		s.ch <- prometheus.MustNewConstHistogram(
			s.changeTime, t.Count, t.Seconds, buckets, valid([]string{name, t.Kind, string(t.Outcome)})...,
		)
	}
}
