package cli

import (
	"testing"

	"superctl/config"
	"superctl/servers"
)

func TestCheckWarnsOfServersWithoutTheHook(t *testing.T) {
	web := config.Process{Listen: []string{"web"}, DrainHook: true}
	known := servers.Applied{Server: "uvicorn", Hook: true}
	without := web
	without.DrainHook = false
	if _, stake := hookNote(without, known); !stake {
		t.Error("nothing is said of what is at stake")
	}
	if text, stake := hookNote(web, known); stake {
		t.Errorf("it says %q", text)
	}
}
