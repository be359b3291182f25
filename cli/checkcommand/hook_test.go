//go:build linux

package checkcommand

import (
	"testing"

	"superctl/api"
	"superctl/config"
	"superctl/servers"
)

func TestCheckWarnsOfServersWithoutTheDrainHook(t *testing.T) {
	web := config.Process{Listen: []string{"web"}, DrainHook: true}
	known := servers.Applied{Server: "uvicorn", Hook: true}
	without := web
	without.DrainHook = false
	if _, warn := drainHookWarning(without, known); !warn {
		t.Error("no warning for a server without the hook")
	}
	if text, warn := drainHookWarning(web, known); warn {
		t.Errorf("unexpected warning %q", text)
	}
}

func TestAProgramThatCountsItselfIsNotWarnedOf(t *testing.T) {
	web := config.Process{Name: "web", Listen: []string{"web"}, DrainHook: true, Guard: &config.Guard{}}
	node := servers.Applied{Server: "node"}
	for name, c := range map[string]struct {
		st   api.Status
		warn bool
	}{
		"no daemon":           {api.Status{}, true},
		"it does not count":   {api.Status{Processes: []api.ProcessStatus{{Name: "web"}}}, true},
		"another one counts":  {api.Status{Processes: []api.ProcessStatus{{Name: "api", Requests: &api.Requests{}}}}, true},
		"it counts by itself": {api.Status{Processes: []api.ProcessStatus{{Name: "web", Requests: &api.Requests{}}}}, false},
	} {
		if text, warn := uncountedWarning(web, node, &c.st); warn != c.warn {
			t.Errorf("%s: %q", name, text)
		}
	}
}
