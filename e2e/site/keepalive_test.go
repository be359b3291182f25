package site

import (
	"fmt"
	"os"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

// withoutHook is for a look by hand at what this test finds without the drain hook.
func withoutHook() bool { return os.Getenv("SUPERCTL_E2E_DRAIN_HOOK") == "false" }

func TestKeepAliveClientsLoseNothing(t *testing.T) {
	for _, server := range []harness.Server{harness.GunicornThreads(), harness.Uvicorn()} {
		for name, opt := range map[string]harness.Options{
			"direct":                     {},
			"nginx that keeps upstreams": {Front: harness.NginxUnix, Kept: 16},
		} {
			t.Run(server.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				opt.Server = server
				if withoutHook() {
					opt.Web = "drain_hook = false"
				}
				a := harness.New(t, run, opt)
				a.Releases("r1", "r2")
				a.Start("r1")
				// Each client keeps its connection, and all are busy at the moment of each stop signal.
				requests := a.Load(load.Config{Rate: 150, Clients: 8, KeepAlive: true})
				for i := range turns / 2 {
					a.Command("switch", fmt.Sprintf("r%d", 2-i%2)).Want(0)
					a.More(requests, 30)
				}
				a.Lossless(requests)
			})
		}
	}
}
