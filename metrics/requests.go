//go:build linux

package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"superctl/api"
	"superctl/supervisor/requests"
)

// bounds are the upper bounds of the buckets of request_duration_seconds, in seconds.
func bounds() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
}

// served are the requests of one process, of one generation or more.
type served struct {
	ended     [8]uint64 // by the index in codes
	durations requests.Histogram
}

// codes are the values of the label code, in the order of served.ended.
func codes() []string {
	return []string{"1xx", "2xx", "3xx", "4xx", "5xx", "broken", "aborted", "lost"}
}

func servedBy(of *api.ProcessRequests) (s served) {
	r := &of.Requests
	s.ended = [8]uint64{
		r.Status1xx, r.Status2xx, r.Status3xx, r.Status4xx, r.Status5xx, r.Broken, r.Aborted, r.Lost,
	}
	// A daemon with another histogram is newer than this program: its durations are left out.
	s.durations, _ = requests.FromCells(of.Durations)
	return s
}

func (s *served) add(o *served) {
	for i, n := range o.ended {
		s.ended[i] += n
	}
	for i, n := range o.durations {
		s.durations[i] += n
	}
}

// requestsOf sends the requests of each process: in sum, which is what rates are made of, and of
// each generation, so that releases can be compared.
func (s *sender) requestsOf(app string, m *api.Measures) {
	all := make(map[string]*served)
	for i := range m.Requests {
		of := &m.Requests[i]
		one := servedBy(of)
		if all[of.Process] == nil {
			all[of.Process] = new(served)
		}
		all[of.Process].add(&one)
		if of.Generation == 0 {
			continue
		}
		labels := []string{app, of.Process, of.Release, strconv.Itoa(of.Generation)}
		s.served(s.genRequests, s.genDuration, &one, labels)
		s.gauge(s.inFlight, float64(of.Requests.InFlight), labels...)
	}
	for process, sum := range all {
		s.served(s.requests, s.duration, sum, []string{app, process})
	}
}

func (s *sender) served(count, duration *prometheus.Desc, of *served, labels []string) {
	for i, code := range codes() {
		s.counter(count, of.ended[i], append(labels[:len(labels):len(labels)], code)...)
	}
	buckets := make(map[float64]uint64)
	for _, bound := range bounds() {
		buckets[bound] = of.durations.Within(time.Duration(bound * float64(time.Second)))
	}
	s.ch <- prometheus.MustNewConstHistogram(
		duration, of.durations.Count(), of.durations.Sum().Seconds(), buckets, valid(labels)...,
	)
}
