//go:build linux

package checkcommand

import (
	"fmt"
	"slices"

	"superctl/api"
	"superctl/config"
	"superctl/proc"
)

// shortQueueRate is the number of new connections a second below which check warns of a short
// queue.
const shortQueueRate = 50

// holdQueueNote returns text on how many new connections a second fit into the queue of a listener
// during a hold. It reports whether the queue is short.
func holdQueueNote(conf *config.Config, pr config.Process, listener string) (text string, short bool) {
	i := slices.IndexFunc(conf.Listen, func(l config.Listen) bool { return l.Name == listener })
	room, most := conf.Listen[i].Backlog, somaxconn()
	where := fmt.Sprintf("backlog = %d", room)
	if most < room {
		room, where = most, fmt.Sprintf("net.core.somaxconn = %d, less than its backlog", most)
	}
	rate := int(float64(room) / pr.Hold.Seconds())
	text = fmt.Sprintf(
		"process.%s: during hold = %s the queue of listen.%s has room for %d new connections a second (%s)", pr.Name,
		pr.Hold, listener, rate, where,
	)
	if rate < shortQueueRate {
		return text + ": if the site gets more, raise backlog and net.core.somaxconn", true
	}
	return text, false
}

// somaxconn returns the kernel's limit for the length of an accept queue (listen(2)).
func somaxconn() int {
	n, err := proc.Sysctl("net/core/somaxconn")
	if err != nil {
		return 4096 // the default since Linux 5.4
	}
	return n
}

func usesHold(pr config.Process) bool { return pr.Strategy == api.Hold }
