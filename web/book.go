//go:build linux

package web

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"superctl/api"
	"superctl/host"
	"superctl/version"
)

// book has the last ten minutes of all apps. One goroutine uses it.
type book struct {
	source  Source
	name    string             // of the host
	records map[string]*record // by the control socket
	apps    []host.Measured    // the newest answers
	problem string             // why apps may be missing
	now     func() time.Time
}

// screen is an event: what a page shows.
type screen struct {
	Host    string    `json:"host"`
	Version string    `json:"version"`
	At      int64     `json:"at"`                // milliseconds since 1970, as all times here
	Problem string    `json:"problem,omitempty"` // why apps may be missing
	Whole   bool      `json:"whole,omitempty"`   // it has all points and changes, not only new ones
	Apps    []appView `json:"apps"`
}

func newBook(source Source) *book {
	name, err := os.Hostname()
	if err != nil {
		name = "this host"
	}
	return &book{source: source, name: name, records: make(map[string]*record), now: time.Now}
}

// resume forgets the totals from before a time in which the daemons were not asked: a rate over it
// would not be of the last seconds.
func (b *book) resume() {
	for _, r := range b.records {
		r.rates = host.Rates{}
	}
}

// ask asks the daemons. It returns the event with what is new, and a function for the event with
// everything.
func (b *book) ask(ctx context.Context) (now []byte, whole func() []byte) {
	apps, err := b.source.Measure(ctx)
	at := b.now()
	b.apps, b.problem = apps, ""
	if err != nil {
		b.problem = err.Error()
	}
	known := make(map[string]*record, len(apps))
	for i := range apps {
		a := &apps[i]
		r := b.records[a.Control]
		if r == nil {
			r = new(record)
		}
		known[a.Control] = r
		r.call(&a.App)
		r.add(at, a)
	}
	b.records = known
	b.askHistories(ctx, at)
	return b.event(at, false), func() []byte { return b.event(at, true) }
}

// askHistories asks for the histories that have grown, all at once.
func (b *book) askHistories(ctx context.Context, at time.Time) {
	var asked sync.WaitGroup
	for i := range b.apps {
		a, r := &b.apps[i], b.records[b.apps[i].Control]
		if a.Status == nil || !r.historyIsOld(at, &a.Measures) {
			continue
		}
		asked.Go(func() {
			list, err := b.source.History(ctx, &a.App)
			r.setHistory(at, &a.Measures, list, err)
		})
	}
	asked.Wait()
}

func (b *book) event(at time.Time, whole bool) []byte {
	s := screen{
		Host: b.name, Version: version.String(), At: at.UnixMilli(), Problem: b.problem, Whole: whole,
		Apps: make([]appView, 0, len(b.apps)),
	}
	for i := range b.apps {
		s.Apps = append(s.Apps, b.records[b.apps[i].Control].view(&b.apps[i], whole))
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has only strings and finite numbers
	}
	return append(append([]byte("data: "), text...), "\n\n"...)
}

// total returns how many changes the history of an app has.
func total(m *api.Measures) (n uint64) {
	for i := range m.Changes {
		n += m.Changes[i].Count
	}
	return n
}
