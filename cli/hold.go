package cli

import (
	"fmt"
	"slices"

	"superctl/api"
	"superctl/config"
	"superctl/proc"
)

// fewConnections is a number of new connections a second below which a queue is called short.
const fewConnections = 50

// holdNote says for how many connections a listener has room while they wait; short tells that this
// is little.
func holdNote(conf *config.Config, pr config.Process, listener string) (text string, short bool) {
	i := slices.IndexFunc(conf.Listen, func(l config.Listen) bool { return l.Name == listener })
	room, most := conf.Listen[i].Backlog, somaxconn()
	where := fmt.Sprintf("backlog = %d", room)
	if most < room {
		room, where = most, fmt.Sprintf("net.core.somaxconn = %d, which is less than its backlog", most)
	}
	rate := int(float64(room) / pr.Hold.Seconds())
	text = fmt.Sprintf(
		"process.%s: for hold = %s listen.%s has room for %d new connections a second (%s)", pr.Name, pr.Hold, listener,
		rate, where,
	)
	if rate < fewConnections {
		return text + ": raise both if there are more", true
	}
	return text, false
}

// somaxconn is the kernel's limit for any accept queue (listen(2)).
func somaxconn() int {
	n, err := proc.Sysctl("net/core/somaxconn")
	if err != nil {
		return 4096 // the default since Linux 5.4
	}
	return n
}

func holds(pr config.Process) bool { return pr.Strategy == api.Hold }
