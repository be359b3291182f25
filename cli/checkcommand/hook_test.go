//go:build linux

package checkcommand

import (
	"testing"

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
