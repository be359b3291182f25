package daemon

import (
	"encoding/json"

	"superctl/api"
	"superctl/releases"
)

// historyLength limits how many changes a client is told of: as many as a page shows. The command
// history reads the file.
const historyLength = 20

// History returns the newest changes, newest first, without the output of their hooks.
func (c controller) History() ([]api.PastChange, error) {
	return newestChanges(c.changes.history)
}

func newestChanges(h releases.History) ([]api.PastChange, error) {
	records, err := h.Read(historyLength)
	if err != nil {
		return nil, err
	}
	list := make([]api.PastChange, 0, len(records))
	for _, r := range records {
		var o api.Outcome
		if json.Unmarshal(r.Data, &o) != nil {
			continue // of a version that has other fields
		}
		list = append(list, api.PastChange{Number: r.Number, Outcome: *o.WithoutOutput()})
	}
	return list, nil
}
