package supervisor

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"superctl/supervisor/requests"
)

// users are requests of users, as the workers count them: a second at a time, as the gate sends them.
type users struct {
	mu     sync.Mutex
	places map[string]*requests.Reading
	broken error
	ended  chan struct{}
}

// guardedSite is a site with two releases whose second answers a part of its requests with 500.
type guardedSite struct {
	*users
	w     *world
	s     *Supervisor
	dir   string
	wrong map[int]uint64                             // 5xx of each 10 requests, by generation
	mute  bool                                       // they end without an answer instead
	every int                                        // requests a second; 0 = 20
	hangs map[int]bool                               // the requests of these generations are never answered
	idle  bool                                       // there are no requests any more
	took  func(gen int, n uint64) requests.Histogram // how long n answers take; nil = they have no durations
	tick  func(second int)
}

// guardedBy makes a site with a guard on its process. Requests come as soon as serve is called.
func guardedBy(t *testing.T, w *world, g *Guard) (site *guardedSite, stop func()) {
	t.Helper()
	withDrainHook(t, w)
	base := w.plan
	w.plan = func(p Plan) Plan {
		p = base(p)
		p.Probation = 10 * time.Second
		p.Processes[0].Guard = g
		return p
	}
	dir := t.TempDir()
	s, end := w.supervisor(dir)
	u := &users{places: make(map[string]*requests.Reading), ended: make(chan struct{})}
	s.counts.source = u.report
	site = &guardedSite{users: u, w: w, s: s, dir: dir, wrong: map[int]uint64{}, hangs: map[int]bool{}}
	return site, func() { close(u.ended); end() }
}

func (u *users) report() (requests.Report, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := requests.Report{Places: make(map[string]*requests.Reading)}
	for place, of := range u.places {
		c := *of
		r.Places[place] = &c
	}
	return r, u.broken
}

// begin has users come until the site is stopped.
func (site *guardedSite) begin() {
	for gen := range 5 {
		site.places[countsOf(gen)] = &requests.Reading{Counting: true}
	}
	go func() {
		for second := 1; ; second++ {
			select {
			case <-site.ended:
				return
			case <-time.After(time.Second):
			}
			site.second()
			if site.tick != nil {
				site.tick(second)
			}
		}
	}()
}

// second has the requests of a second reach the generations that the gate leads to.
func (site *guardedSite) second() {
	g := site.w.gate
	g.mu.Lock()
	live, part := g.live, part{}
	if len(g.parts) > 0 {
		part = g.parts[len(g.parts)-1]
	}
	g.mu.Unlock()
	site.mu.Lock()
	defer site.mu.Unlock()
	n := uint64(20)
	if site.idle {
		n = 0
	} else if site.every > 0 {
		n = uint64(site.every) //nolint:gosec // positive
	}
	shared := uint64(0)
	if part.share > 0 && part.gen != live {
		shared = n * uint64(part.share) / 10_000 //nolint:gosec // positive
		site.answer(part.gen, shared)
	}
	site.answer(live, n-shared)
}

func countsOf(gen int) string { return fmt.Sprintf("g%d.web.0", gen) }

func (site *guardedSite) answer(gen int, n uint64) {
	r := site.places[countsOf(gen)]
	if r == nil {
		return
	}
	if site.hangs[gen] {
		r.Started, r.InFlight = r.Started+n, r.InFlight+n
		return
	}
	wrong := n * site.wrong[gen] / 10
	r.Started, r.Answered[1] = r.Started+n, r.Answered[1]+n-wrong
	if site.took != nil {
		r.Add(&requests.Counts{Durations: site.took(gen, n)})
	}
	if site.mute {
		r.Broken += wrong
		return
	}
	r.Answered[4] += wrong
}

// usual is the guard of a config that says nothing about it.
func usual() *Guard { return &Guard{Points: 0.02, Factor: 2} }

// probation switches to r2, and returns what was told in the probation.
func (site *guardedSite) probation(t *testing.T) (out *Outcome, told []string) {
	t.Helper()
	out, err := site.s.Change(t.Context(), Request{Kind: Switch, Release: "r2"}, func(ev Event) {
		if ev.Type == "progress" && ev.Step == stepProbation {
			told = append(told, ev.Detail)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, told
}

func detailOf(out *Outcome, step string) string {
	for _, st := range out.Steps {
		if st.Name == step {
			return st.Detail
		}
	}
	return ""
}
