package config

import "time"

// Recycle says when a worker is replaced although it serves. A field that is 0 sets no limit.
type Recycle struct {
	Memory   uint64        // bytes
	Every    time.Duration // age
	Requests uint64
	Interval time.Duration // between two measurements
}

// recycleTable is recycle, or [process.NAME.recycle].
type recycleTable struct {
	Memory   any       `toml:"memory"` // "800M", or a number of bytes
	Every    *duration `toml:"every"`
	Requests *int64    `toml:"requests"`
	Interval *duration `toml:"interval"`
}

const (
	// defaultRecycleInterval is short for a leak, which takes hours, and long for a daemon that
	// otherwise sleeps: a measurement takes about a millisecond for each worker.
	defaultRecycleInterval = 30 * time.Second
	minRecycleInterval     = time.Second
	minRecycleAge          = time.Minute
	maxRecycleRequests     = 1 << 40
)

// recycle parses the limits at which a worker is replaced. memoryMax is the one at which the kernel
// kills it; 0 = none.
func (l *loader) recycle(key string, t processTable, memoryMax uint64) *Recycle {
	key += ".recycle"
	r := t.Recycle
	if r == nil {
		return nil
	}
	if r.Memory == nil && r.Every == nil && r.Requests == nil {
		l.at(key, `recycle has no limit: set memory = "800M", every = "24h" or requests = 100000`)
	}
	out := &Recycle{
		Memory: l.size(key+".memory", r.Memory), Every: l.duration(key+".every", r.Every, 0, minRecycleAge),
		Requests: uint64(l.number(key+".requests", r.Requests, 0, 1, maxRecycleRequests)), //nolint:gosec // positive
		Interval: l.duration(key+".interval", r.Interval, defaultRecycleInterval, minRecycleInterval),
	}
	if r.Requests != nil && len(t.Listen) == 0 {
		l.at(key+".requests", "requests are counted of processes with listeners, and this one has none: remove requests")
	}
	if memoryMax > 0 && out.Memory >= memoryMax {
		l.at(key+".memory", "memory = %v: it must be less than memory_max, where the kernel kills the worker", r.Memory)
	}
	return out
}
