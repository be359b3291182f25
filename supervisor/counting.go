package supervisor

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/requests"
	"superctl/supervisor/worker"
)

// counting sums up the requests that workers count (package requests). It reads when a status is
// asked for, and never for the owner: an app may have a thousand workers.
type counting struct {
	*core
	owner  *Supervisor
	ledger *requests.Ledger
	source func() (requests.Report, error) // reads the ledger; nil = workers have no place to count

	folded  time.Time // owned by Run: when the pages of ended processes were last folded
	folding bool      // owned by Run

	mu   sync.Mutex
	at   time.Time       // guarded by mu
	of   map[string]bool // guarded by mu: the places that were asked for, and whether their workers were ready
	last requests.Report // guarded by mu
	why  error           // guarded by mu: what kept the last report from being complete
}

func newCounting(s *Supervisor) *counting {
	c := &counting{core: s.core, owner: s, ledger: requests.NewLedger(s.opt.Hook, requests.Running)}
	if s.opt.Hook != "" {
		c.source = c.ledger.Read
	}
	return c
}

// pages makes the directory in which a worker that is about to start counts its requests. A site
// that cannot count still serves.
func (co *core) pages(flag string, user *worker.Credential) string {
	if flag == "" {
		return ""
	}
	uid, gid := -1, -1
	if user != nil && os.Geteuid() == 0 {
		uid, gid = int(user.UID), int(user.GID)
	}
	dir, err := requests.Make(flag, uid, gid)
	if err != nil {
		co.log.Error("directory for the counts of requests: they are not counted", zap.Error(err))
		return ""
	}
	return dir
}

// countingPlace returns the name under which the requests of the worker with that flag are counted.
func countingPlace(flag string) string {
	if flag == "" {
		return ""
	}
	return requests.Place(flag)
}

// retire folds the counts of generations that are gone into those of the app.
func (c *counting) retire() {
	if !c.owner.flags.installed {
		return
	}
	used, next := make(map[string]bool), c.owner.next
	for id, g := range c.owner.generations {
		used[strconv.Itoa(id)] = true
		for _, in := range g.instances {
			used[in.place] = true // a restart of another process has carried it over
		}
	}
	c.async(func() {
		if err := c.ledger.Retire(func(place string) bool {
			number := generationOf(place)
			n, err := strconv.Atoi(number)
			return used[place] || used[number] || err == nil && n >= next
		}); err != nil {
			c.log.Error("keep the counts of requests", zap.Error(err))
		}
	})
}

// foldEvery is how often the pages of ended processes are folded while no status is asked for. A
// server may replace its processes by itself (gunicorn --max-requests), and each leaves 8 KB.
const foldEvery = 10 * time.Minute

// fold folds the pages of ended processes now and then, when the owner is awake anyway: it has no
// timer of its own, which would wake an idle daemon.
func (c *counting) fold() {
	if !c.owner.flags.installed || c.folding || time.Since(c.folded) < foldEvery {
		return
	}
	c.folding = true
	c.async(func() {
		if _, err := c.ledger.Read(); err != nil {
			c.log.Warn("fold the counts of requests", zap.Error(err))
		}
		c.post(func() { c.folding, c.folded = false, time.Now() })
	})
}

// generationOf returns the number of the generation that a place was made for: 12 for "g12.web.0".
func generationOf(place string) string {
	number, _, _ := strings.Cut(strings.TrimPrefix(place, "g"), ".")
	return number
}

// read returns what all workers have counted, as it was within the last second. A worker that was not ready
// then may have begun to count since.
func (c *counting) read(places map[string]bool) (requests.Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of != nil && time.Since(c.at) < measureEvery
	for place, ready := range places {
		was, asked := c.of[place]
		known = known && asked && (was || !ready)
	}
	if !known {
		c.last, c.why = c.ledger.Read()
		c.at, c.of = time.Now(), places
	}
	return c.last, c.why
}

// look reads what all workers have counted now.
func (c *counting) look() (requests.Report, error) {
	return c.source()
}

// counts reports whether there is a place where workers may count.
func (c *counting) counts() bool { return c.source != nil }

// countingInstance is an instance whose worker serves requests, for a status.
type countingInstance struct {
	process, server string
	place           string
	ready           bool
}

func countingOf(in *instance) countingInstance {
	if len(in.proc.Listen) == 0 || in.gen.plan.Page {
		return countingInstance{}
	}
	return countingInstance{
		process: in.proc.Name, server: in.proc.Server, place: in.place, ready: in.w != nil && in.state == InstanceReady,
	}
}

// fill fills in what the workers have counted, and returns it by process and generation.
func (c *counting) fill(st *Status, figures []measurement) (list []ProcessRequests) {
	if c.opt.Hook == "" {
		return nil
	}
	places := countedPlaces(figures)
	report, err := c.read(places)
	if err != nil {
		st.Troubles = append(st.Troubles, Trouble{Of: "requests", Since: time.Now(), Why: err.Error()})
	}
	var all requests.Counts
	for process, gone := range report.Gone {
		all.Add(gone)
		list = append(list, requestsOf(process, gone))
	}
	for process, gone := range unlisted(st, places, report.Places) {
		all.Add(gone)
		list = append(list, requestsOf(process, gone))
	}
	counted := len(list) > 0
	for i := range figures {
		gs := &st.Generations[i]
		sum := tally{processes: make(map[string]*requests.Counts)}
		sum.instances(gs, figures[i].counting, report.Places)
		sum.others(gs.ID, places, report.Places)
		if sum.counting {
			gs.Requests, counted = asRequests(&sum.all), true
			all.Add(&sum.all)
			list = append(list, sum.each(gs)...)
		}
		if gs.ID == st.Generation {
			sum.tell(st.Processes)
		}
	}
	if counted {
		st.Requests = asRequests(&all)
	}
	return list
}

// countedPlaces returns the places of the instances that count, and whether their workers are ready.
func countedPlaces(figures []measurement) map[string]bool {
	places := make(map[string]bool)
	for i := range figures {
		for _, of := range figures[i].counting {
			places[of.place] = of.ready
		}
	}
	delete(places, "")
	return places
}

// unlisted returns, by process, what was counted in generations that the status does not list any more
// and that are not folded yet. Without it the sum of the app would fall until they are.
func unlisted(st *Status, claimed map[string]bool, places map[string]*requests.Reading) map[string]*requests.Counts {
	listed := make(map[string]bool)
	for i := range st.Generations {
		listed[strconv.Itoa(st.Generations[i].ID)] = true
	}
	sum := tally{processes: make(map[string]*requests.Counts)}
	for place, r := range places {
		if _, ours := claimed[place]; r.Counting && !ours && !listed[generationOf(place)] {
			sum.add(requests.Process(place), r)
		}
	}
	return sum.processes
}

// tally sums up the counts of one generation.
type tally struct {
	all       requests.Counts
	processes map[string]*requests.Counts
	counting  bool
}

func (t *tally) add(process string, r *requests.Reading) {
	t.counting = true
	t.all.Add(&r.Counts)
	if t.processes[process] == nil {
		t.processes[process] = new(requests.Counts)
	}
	t.processes[process].Add(&r.Counts)
}

// instances adds the instances, and says which do not count.
func (t *tally) instances(gs *GenerationStatus, list []countingInstance, places map[string]*requests.Reading) {
	for i, of := range list {
		r := places[of.place]
		switch {
		case of.process == "":
		case r != nil && r.Counting:
			t.add(of.process, r)
			gs.Workers[i].Requests = asRequests(&r.Counts)
		case of.ready:
			u := Uncounted{Process: of.process, Server: of.server}
			if !slices.Contains(gs.Uncounted, u) {
				gs.Uncounted = append(gs.Uncounted, u)
			}
		}
	}
}

// others adds what was counted in places of the generation that have no instance any more.
func (t *tally) others(generation int, claimed map[string]bool, places map[string]*requests.Reading) {
	for place, r := range places {
		if _, ours := claimed[place]; !ours && r.Counting && generationOf(place) == strconv.Itoa(generation) {
			t.add(requests.Process(place), r)
		}
	}
}

func (t *tally) tell(processes []ProcessStatus) {
	for i := range processes {
		if c := t.processes[processes[i].Name]; c != nil {
			processes[i].Requests = asRequests(c)
		}
	}
}

// each returns the counts of each process of a generation.
func (t *tally) each(gs *GenerationStatus) (list []ProcessRequests) {
	for process, c := range t.processes {
		of := requestsOf(process, c)
		of.Generation, of.Release = gs.ID, gs.Release
		list = append(list, of)
	}
	return list
}

func requestsOf(process string, c *requests.Counts) ProcessRequests {
	return ProcessRequests{Process: process, Requests: *asRequests(c), Durations: c.Durations.Cells()}
}

func asRequests(c *requests.Counts) *Requests {
	r := &Requests{
		Started: c.Started, InFlight: c.InFlight, Lost: c.Lost, Broken: c.Broken, Aborted: c.Aborted,
		Status1xx: c.Answered[0], Status2xx: c.Answered[1], Status3xx: c.Answered[2], Status4xx: c.Answered[3],
		Status5xx: c.Answered[4],
	}
	if c.Durations.Count() > 0 {
		quantile := func(q float64) *float64 { s := c.Durations.Quantile(q).Seconds(); return &s }
		r.P50, r.P95, r.P99 = quantile(0.5), quantile(0.95), quantile(0.99)
	}
	return r
}
