package daemon

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"superctl/api"
	"superctl/releases"
)

func TestChangesAreCountedOnceByKindAndOutcome(t *testing.T) {
	h := releases.History{Path: filepath.Join(t.TempDir(), "history.jsonl")}
	totals := newChangeTotals(h)
	record := func(kind string, result api.Result, seconds float64) {
		t.Helper()
		if err := h.Append(api.Outcome{Kind: kind, Result: result, Seconds: seconds}); err != nil {
			t.Fatal(err)
		}
	}
	record("switch", api.Done, 2.5)
	record("switch", api.Aborted, 61)
	if _, err := totals.read(); err != nil {
		t.Fatal(err)
	}
	record("switch", api.Done, 4)
	record("rollback", api.Done, 0.01)
	want := []api.ChangeTotal{
		{Kind: "rollback", Outcome: api.Done, Count: 1, Seconds: 0.01, Within: []uint64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{Kind: "switch", Outcome: api.Aborted, Count: 1, Seconds: 61, Within: []uint64{0, 0, 0, 0, 0, 0, 1, 1, 1, 1}},
		{Kind: "switch", Outcome: api.Done, Count: 2, Seconds: 6.5, Within: []uint64{0, 1, 2, 2, 2, 2, 2, 2, 2, 2}},
	}
	for _, of := range []*changeTotals{totals, newChangeTotals(h)} { // and by the next daemon
		got, err := of.read()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
}
