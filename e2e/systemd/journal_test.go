package systemd

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

func TestTheJournalNamesTheWorkerOfEachLine(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	want := map[string]string{
		"SUPERCTL_APP": "shop", "SUPERCTL_RELEASE": "r1", "SUPERCTL_PROCESS": "web",
		"SUPERCTL_INSTANCE":   strconv.Itoa(0),
		"SUPERCTL_GENERATION": strconv.Itoa(s.Status(t).Generation), "SUPERCTL_PID": strconv.Itoa(s.workers(t)[0]),
		"_SYSTEMD_UNIT": unit,
	}
	// gunicorn's first lines.
	var records string
	harness.Eventually(t, "the worker's lines are in the journal", func() bool {
		records = s.Run(
			"journalctl", "--no-pager", "--output=json", "SUPERCTL_RELEASE=r1", "SUPERCTL_PROCESS=web",
		).Stdout
		return strings.Contains(records, "Booting worker")
	})
	for line := range strings.Lines(records) {
		var record map[string]any
		must(t, json.Unmarshal([]byte(line), &record))
		for field, value := range want {
			if record[field] != value {
				t.Errorf("%s is %v, want %q in %s", field, record[field], value, line)
			}
		}
	}
}

func TestEachReleaseHasItsOwnLinesInTheJournal(t *testing.T) {
	s := newSite(t, Options{}, "r1", "r2")
	s.Start(t, "r1")
	s.Superctl("switch", "r2").Want(0)
	for _, release := range []string{"r1", "r2"} {
		harness.Eventually(t, "lines of "+release+" are in the journal", func() bool {
			return strings.Contains(
				s.Run("journalctl", "--no-pager", "--output=cat", "SUPERCTL_RELEASE="+release).Stdout, "Booting worker",
			)
		})
	}
}
