package site

import (
	"testing"

	"superctl/e2e/harness"
)

// Listeners of two kinds cannot share an address: the old kind stays while workers have listeners
// of it.
func TestAConfigWithAnotherKindOfGateKeepsTheSiteUpAndSwitchable(t *testing.T) {
	t.Parallel()
	for front, kind := range map[harness.Front]string{harness.TCP: "steer", harness.Unix: "rename"} {
		t.Run(front.String(), func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Front: front})
			a.Releases("r1", "r2")
			a.Start("r1")
			requests := a.Load(requestsOfAFewUsers())
			a.Options.Listen = `gate = "shared"`
			a.WriteConfig()
			a.Daemon.Kill()
			a.Start("r2")
			a.Command("rollback").Want(0)
			a.Command("status").Want(0).Says(`listener "web" keeps its gate "` + kind + `"`)
			a.More(requests, 10)
			a.Lossless(requests)

			a.Daemon.Stop()
			a.Start("")
			if got := a.Status().Listeners[0].Gate; got != "shared" {
				t.Errorf("after a stop and a start the gate is %s", got)
			}
			a.Command("switch", "r2").Want(0)
		})
	}
}
