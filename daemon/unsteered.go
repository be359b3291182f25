package daemon

import (
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/supervisor"
)

// unsteered returns the TCP listeners whose connections superctl cannot steer although the config
// does not ask for a shared queue: the sandbox of a container, or its kernel, refuses the filter.
func unsteered(c *config.Config, gates []supervisor.Gate) (list []api.Trouble) {
	for i, l := range c.Listen {
		g, ok := gates[i].(gate)
		if !ok || l.Address.Network() != "tcp" || l.Gate == "shared" || g.Kind() != "shared" {
			continue
		}
		list = append(list, api.Trouble{
			Of: "listener " + l.Name, Since: time.Now(),
			Why: g.Reason() + "; in a switch, old and new workers accept from one queue (gate \"shared\")",
		})
	}
	return list
}
