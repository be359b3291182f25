package daemon

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"

	"superctl/api"
	"superctl/releases"
)

// Measures returns the figures of the app for metrics.
func (c controller) Measures() api.Measures {
	m := c.Supervisor.Measures()
	changes, err := c.changes.read()
	m.Changes = changes
	if err != nil {
		m.Status.Troubles = append(m.Status.Troubles, api.Trouble{Of: "history", Since: m.Status.Since, Why: err.Error()})
	}
	return m
}

// changeTotals counts the changes in the history. It reads what is new when it is asked, and the
// whole history once.
type changeTotals struct {
	history releases.History

	mu  sync.Mutex
	at  releases.Position              // guarded by mu
	sum map[changeKey]*api.ChangeTotal // guarded by mu
}

type changeKey struct {
	kind    string
	outcome api.Result
}

func newChangeTotals(h releases.History) *changeTotals {
	return &changeTotals{history: h, sum: make(map[changeKey]*api.ChangeTotal)}
}

// read returns the totals by kind and outcome.
func (c *changeTotals) read() ([]api.ChangeTotal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.history.After(c.at, c.add)
	c.at = at
	list := make([]api.ChangeTotal, 0, len(c.sum))
	for _, total := range c.sum {
		one := *total
		one.Within = slices.Clone(total.Within)
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b api.ChangeTotal) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Outcome, b.Outcome))
	})
	return list, err
}

// add adds a record. c.mu is held.
func (c *changeTotals) add(r releases.Record) {
	var o struct {
		Kind    string     `json:"kind"`
		Outcome api.Result `json:"outcome"`
		Seconds float64    `json:"seconds"`
	}
	if json.Unmarshal(r.Data, &o) != nil || o.Kind == "" {
		return
	}
	key, bounds := changeKey{o.Kind, o.Outcome}, api.ChangeBounds()
	if c.sum[key] == nil {
		c.sum[key] = &api.ChangeTotal{Kind: o.Kind, Outcome: o.Outcome, Within: make([]uint64, len(bounds))}
	}
	total := c.sum[key]
	total.Count++
	total.Seconds += o.Seconds
	for i, bound := range bounds {
		if o.Seconds <= bound {
			total.Within[i]++
		}
	}
}
