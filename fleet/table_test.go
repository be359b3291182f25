package fleet

import (
	"slices"
	"testing"
)

func TestEveryEventHasAMeaningInEveryPhase(t *testing.T) {
	for name, of := range map[string]struct {
		table  actions
		phases []phase // nil = all
	}{
		"change":      {table: table()},
		"maintenance": {maintenanceTable(), []phase{reaching, leasing, turning, over}},
		"hold":        {holdTable(func() {}), []phase{leasing, over}},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			for p := range phases {
				if of.phases != nil && !slices.Contains(of.phases, p) {
					continue
				}
				for k := range kinds {
					n++
					if of.table[cell{p, k}] == nil {
						t.Errorf("phase %d, event %d: no action", p, k)
					}
				}
			}
			if len(of.table) != n {
				t.Errorf("%d actions for %d pairs of a phase and an event", len(of.table), n)
			}
		})
	}
}
