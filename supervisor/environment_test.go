package supervisor

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestTheNamesOfTheLiveEnvironmentAreToldAndNoValueIs(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.plan = func(p Plan) Plan {
			for i := range p.Processes {
				p.Processes[i].Env = []string{"LANG=C.UTF-8", "TOKEN=hush"}
				p.Processes[i].EnvFrom = map[string]string{"LANG": "superctl", "TOKEN": "env_file"}
			}
			return p
		}
		w.releases["r1"] = behaviour{}
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		if st := s.Environment(); st.Release != "" || len(st.Processes) > 0 {
			t.Errorf("before anything is live: %+v", st)
		}
		switchTo(t, s, "r1")
		st := s.Environment()
		text, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "hush") || st.Release != "r1" || st.Generation != 1 {
			t.Errorf("%s", text)
		}
		for _, v := range []Variable{
			{Name: "TOKEN", From: "env_file"},
			{Name: "LANG", From: "superctl"},
			{Name: "SUPERCTL_RELEASE", From: "superctl"},
			{Name: "LISTEN_FDS", From: "superctl"},
			{Name: "LISTEN_PID", From: "superctl"},
		} {
			if !slices.Contains(st.Processes[0].Variables, v) {
				t.Errorf("%v is missing: %s", v, text)
			}
		}
	})
}
