package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAStateThatMakesNoSenseIsRefusedByItsName(t *testing.T) {
	const process = `{"name": "web", "command": ["serve"], "listen": ["web"], "instances": 1}`
	generation := func(head, worker string) string {
		return `"generations": [{` + head + `, "plan": {"processes": [` + process + `]}, "workers": [{` + worker +
			`}]}]`
	}
	for name, text := range map[string]string{
		"a negative number": `"next_generation": -1`,
		"a huge number":     `"next_generation": 4611686018427387904`,
		"an unknown state":  generation(`"id": 1, "state": "asleep"`, `"process": "web", "state": "ready"`),
		"an unknown worker": generation(`"id": 1, "state": "live"`, `"process": "web", "state": "asleep"`),
		"a negative pid": generation(
			`"id": 1, "state": "live"`, `"process": "web", "state": "ready", "pid": -7`,
		),
		"process 1":             generation(`"id": 1, "state": "live"`, `"process": "web", "state": "ready", "pid": 1`),
		"two of a number":       `"generations": [{"id": 1, "state": "live"}, {"id": 1, "state": "standby"}]`,
		"a process of no name":  `"generations": [{"id": 1, "state": "live", "plan": {"processes": [{}]}}]`,
		"a listener below zero": `"listeners": {"web": [{"generation": -3}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, stateName)
			text = `{"version": 1, "needs": 1, "app": "shop", ` + text + `}`
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := New(Options{App: "shop", State: dir}).CheckState()
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%v", err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != text {
				t.Errorf("the file is %q now, %v", data, err)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"version": 1, "app": "shop", "generations": [{"id": 1, "state": "live", "workers": [{"pid": 5}]}]}`))
	f.Add([]byte(`{"version": 1, "app": "shop", "listeners": {"web": null}, "generations": null, "change": {}}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, stateName), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := New(Options{App: "shop", State: dir})
		st, err := s.journal.load()
		if err != nil {
			return
		}
		for i := range st.Generations {
			s.listeners.gatesOf(&st, &st.Generations[i])
		}
		newRecovery(s).halfRolled(&st)
		for name, members := range st.Listeners {
			sentTo(&st, name, members)
		}
	})
}
