package daemon

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"superctl/api"
	"superctl/releases"
)

func TestTheNewestChangesAreTold(t *testing.T) {
	h := releases.History{Path: filepath.Join(t.TempDir(), "history.jsonl")}
	if list, err := newestChanges(h); err != nil || len(list) != 0 || list == nil {
		t.Errorf("without a history: %v, %v", list, err)
	}
	records := []any{}
	for range historyLength {
		records = append(records, api.Outcome{Kind: "switch", Release: "r1", Log: []string{"a line"}, Steps: []api.Step{
			{Name: api.StepBefore, Output: []string{"of a hook"}},
		}})
	}
	for _, record := range append(records, map[string]any{"kind": 7}) {
		if err := h.Append(record); err != nil {
			t.Fatal(err)
		}
	}
	list, err := newestChanges(h)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != historyLength-1 || list[0].Number != historyLength || list[0].Release != "r1" || len(list[0].Log) != 1 {
		t.Errorf("%d changes: %+v", len(list), list[0])
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "of a hook") || !strings.HasPrefix(string(text), `[{"number":20,"kind":"switch"`) {
		t.Errorf("%s", text)
	}
}
