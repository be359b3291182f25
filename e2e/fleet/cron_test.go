package fleet

import (
	"fmt"
	"testing"
)

// cronOnHosts are two scheduled commands, each of which leaves a line for each of its runs.
const cronOnHosts = config + `
[cron.one]
schedule = "*:*:0/2"
on       = "one"
command  = ["sh", "-c", "echo $SUPERCTL_DUE $SUPERCTL_RELEASE >>/srv/shop/one"]
[cron.each]
schedule = "*:*:0/2"
command  = ["sh", "-c", "echo $SUPERCTL_DUE $SUPERCTL_RELEASE >>/srv/shop/each"]
`

func TestACommandForOneHostRunsOnTheCanaryHost(t *testing.T) {
	o := newOperator(t)
	o.f.Each(t, func(h *Host) { h.Write(t, "/etc/superctl/shop.toml", cronOnHosts) })
	for _, release := range []string{"2", "3"} {
		o.superctl("switch", release).Want(0)
		o.f.Each(t, func(h *Host) {
			runs := func(name string) string {
				return fmt.Sprintf(`until [ "$(grep -sc ' %s$' /srv/shop/%s)" -ge 3 ]; do sleep 0.1; done`, release, name)
			}
			h.Run(t, "timeout", "120", "sh", "-c", runs("each")).Want(0)
			if h == o.f.Hosts[0] {
				h.Run(t, "timeout", "120", "sh", "-c", runs("one")).Want(0)
				h.Run(t, "sh", "-c", "sort /srv/shop/one | uniq -d | grep .").Want(1) // no time twice
				return
			}
			h.Run(t, "test", "-e", "/srv/shop/one").Want(1)
			h.Superctl(t, "cron").Want(0).Says("canary host")
		})
	}
}
