package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"superctl/api"
	"superctl/supervisor/worker"
)

func TestTheVariablesThatDifferAreNamedWithoutValues(t *testing.T) {
	dir := t.TempDir()
	file := func(name, value string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	from := map[string]string{"PATH": "superctl"}
	was := Plan{Processes: []Process{
		{
			Name: "web", EnvFrom: from, Env: []string{"PATH=/r1", "SAME=1", "OLD=1", "VALUE=1", "MOVED=1"},
			Templates: []string{"TEMPLATE={generation}"},
			Secrets:   worker.Secrets{"KEPT": file("kept1", "x"), "SECRET": file("secret1", "x")},
		},
		{Name: "gone", Env: []string{"VALUE=1"}},
	}}
	next := Plan{Processes: []Process{
		{
			Name: "web", EnvFrom: from, Env: []string{"PATH=/r2", "SAME=1", "VALUE=2", "NEW=1"},
			Templates: []string{"TEMPLATE={instance}"},
			Secrets: worker.Secrets{
				"KEPT": file("kept2", "x"), "SECRET": file("secret2", "y"), "MOVED": file("moved", "1"),
			},
		},
		{Name: "worker", Env: []string{"SAME=2"}},
	}}
	want := &api.VariableChanges{
		Added: []string{"NEW"}, Removed: []string{"OLD"}, Changed: []string{"SECRET", "TEMPLATE", "VALUE"},
	}
	if diff := cmp.Diff(want, was.differences(&next)); diff != "" {
		t.Error(diff)
	}
	if same := was.differences(&was); same != nil {
		t.Errorf("of a plan and itself: %+v", same)
	}
}
