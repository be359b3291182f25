package supervisor

import (
	"maps"
	"slices"
	"sync"
	"time"

	"superctl/supervisor/worker"
)

// measureEvery is for how long what workers use is remembered: `status --watch` of ten people is
// one look a second.
const measureEvery = time.Second

// meter remembers what workers use.
type meter struct {
	mu   sync.Mutex
	at   time.Time                // guarded by mu
	last map[process]worker.Usage // guarded by mu
}

// read returns what workers use. It looks at the machine, unless it has a moment ago: never for the
// owner.
func (m *meter) read(look func([]process) []worker.Usage, workers []process) map[process]worker.Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.last != nil && time.Since(m.at) < measureEvery
	for _, w := range workers {
		_, ok := m.last[w]
		known = known && ok
	}
	if known {
		return m.last
	}
	m.last = make(map[process]worker.Usage, len(workers))
	for i, u := range look(workers) {
		m.last[workers[i]] = u
	}
	m.at = time.Now()
	return m.last
}

// measurement is what a status needs of a generation beyond what the owner knows.
type measurement struct {
	workers  []process // in the order of the instances; nil = none runs
	holders  map[listener][]process
	counting []countingInstance // likewise
}

func (g *generation) measurement() measurement {
	m := measurement{holders: make(map[listener][]process)}
	for _, in := range g.instances {
		m.workers, m.counting = append(m.workers, in.w), append(m.counting, countingOf(in))
		if in.w == nil {
			continue
		}
		for _, name := range in.proc.Listen {
			if l := in.listener(name); l.held() {
				m.holders[l] = append(m.holders[l], in.w)
			}
		}
	}
	return m
}

// fill fills in what workers use and hold. It reads /proc, which takes its time: not the owner's.
func (vw *view) fill(st *Status, figures []measurement) {
	var running []process
	for _, m := range figures {
		for _, w := range m.workers {
			if w != nil {
				running = append(running, w)
			}
		}
	}
	if len(running) == 0 {
		return
	}
	usage := vw.meter.read(vw.os.measure, running)
	for i, m := range figures {
		m.fill(&st.Generations[i], usage)
	}
}

func (m *measurement) fill(gs *GenerationStatus, usage map[process]worker.Usage) {
	for i, w := range m.workers {
		if w == nil {
			continue
		}
		u := usage[w]
		gs.Workers[i].MemoryBytes = u.Memory
		gs.MemoryBytes += u.Memory
		if u.CPU != nil {
			seconds := u.CPU.Seconds()
			if gs.CPUSeconds != nil {
				seconds += *gs.CPUSeconds
			}
			gs.CPUSeconds = &seconds
		}
	}
	for _, l := range slices.SortedFunc(maps.Keys(m.holders), listener.compare) {
		var pids []int
		for _, w := range m.holders[l] {
			pids = append(pids, usage[w].PIDs...)
		}
		if n, err := l.connections(pids); err == nil {
			gs.Connections += n
		}
	}
}
