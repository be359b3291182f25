//go:build linux

package metrics

import "github.com/prometheus/client_golang/prometheus"

// families are the metrics of superctl. docs/watching.md lists them.
type families struct {
	all []*prometheus.Desc

	searchFailed, up, health, daemonStart, changing, canary, release, liveSince *prometheus.Desc // of an app
	wanted, ready, queue, queueLimit                                            *prometheus.Desc
	state, connections, memory, restarts                                        *prometheus.Desc // of a generation
	requests, duration, inFlight, genRequests, genDuration                      *prometheus.Desc
	changeCount, changeTime                                                     *prometheus.Desc
}

func newFamilies() *families {
	f := new(families)
	add := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("superctl_"+name, help, labels, nil)
		f.all = append(f.all, d)
		return d
	}
	const perProcess, perGeneration = "of all generations since the app started", "of this generation"
	f.searchFailed = add("search_failed", "Whether a directory of apps or control sockets could not be read.")
	f.up = add("up", "Whether the daemon of the app answers.", "app")
	f.health = add("health", "Whether the app has this health: ok, degraded or down.", "app", "health")
	f.daemonStart = add("daemon_start_time_seconds", "When the daemon started.", "app")
	f.changing = add("change_in_progress", "Whether a change is in progress.", "app")
	f.canary = add("canary_share_ratio", "Share of the connections that a canary gets.", "app")
	f.release = add("release_info", "The live release.", "app", "release", "commit", "generation")
	f.liveSince = add("release_live_since_timestamp_seconds", "When the release became live.", "app", "release")
	f.wanted = add("workers_wanted", "Workers that should run.", "app", "process")
	f.ready = add("workers_ready", "Workers of the live generation that are ready.", "app", "process")
	f.queue = add("listener_queue_length", "Connections that no worker has accepted yet.", "app", "listener")
	f.queueLimit = add("listener_queue_limit", "Connections that fit into the queue of the listener.", "app", "listener")
	f.state = add("generation_state", "The state of a generation.", "app", "release", "generation", "state")
	f.connections = add("generation_connections", "Open connections.", "app", "release", "generation")
	f.memory = add("generation_memory_bytes", "Memory of the workers.", "app", "process", "release", "generation")
	f.restarts = add("worker_restarts_total", "Restarts of a worker that ended.", "app", "process", "release", "generation", "worker")
	f.requests = add("requests_total", "Requests that have ended, "+perProcess+".", "app", "process", "code")
	f.duration = add("request_duration_seconds", "How long complete answers took, "+perProcess+".", "app", "process")
	f.inFlight = add("requests_in_flight", "Requests that have begun and not ended.", "app", "process", "release", "generation")
	f.genRequests = add(
		"generation_requests_total", "Requests that have ended, "+perGeneration+".", "app", "process", "release", "generation", "code",
	)
	f.genDuration = add(
		"generation_request_duration_seconds", "How long complete answers took, "+perGeneration+".",
		"app", "process", "release", "generation",
	)
	f.changeCount = add("changes_total", "Changes in the history of the app.", "app", "kind", "outcome")
	f.changeTime = add("change_duration_seconds", "How long changes took.", "app", "kind", "outcome")
	return f
}
