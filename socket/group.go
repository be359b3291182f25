package socket

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// group lists the listeners of a SO_REUSEPORT group in the kernel's order, so that its indexes are
// those that a filter returns. The kernel appends a listener when it begins to listen. When one
// leaves, the kernel moves the last one to its index (net/core/sock_reuseport.c, reuseport_add_sock
// and __reuseport_detach_sock).
type group []member

// member is a listener of the group.
type member struct {
	gen          int // 0 is a spare, which only reserves its index and gets no connections
	fd           int // -1 is foreign: held by other processes only
	inode        uint32
	stranger     bool // foreign, but not of an earlier daemon: never gets a connection
	indexUnknown bool // its index is unknown: several members left at once, or it took the index of such a member
}

func (m member) spare() bool   { return m.gen == 0 && m.fd >= 0 }
func (m member) foreign() bool { return m.fd < 0 }
func (m member) earlier() bool { return m.foreign() && !m.stranger }

// find returns the index of a generation's listener, or -1.
func (g group) find(gen int) int {
	return slices.IndexFunc(g, func(m member) bool { return m.gen == gen && gen != 0 })
}

// newest returns the index of the newest generation's listener, or -1.
func (g group) newest() int {
	newest := -1
	for i, m := range g {
		if m.gen != 0 && (newest < 0 || m.gen > g[newest].gen) {
			newest = i
		}
	}
	return newest
}

// freeSpare returns the index of a spare for a new generation, or -1.
func (g group) freeSpare() int {
	return slices.IndexFunc(g, func(m member) bool { return m.spare() && !m.indexUnknown })
}

// leave removes the member at i as the kernel does.
func (g group) leave(i int) group {
	last := len(g) - 1
	indexUnknown := g[i].indexUnknown
	g[i] = g[last]
	g[i].indexUnknown = g[i].indexUnknown || indexUnknown
	return g[:last]
}

// earlierSpan returns the first index of an earlier daemon's listener, and how many indexes there
// are from it to the last one.
func (g group) earlierSpan() (first, count int) {
	first = slices.IndexFunc(g, member.earlier)
	for i, m := range g {
		if m.earlier() {
			count = i - first + 1
		}
	}
	return first, count
}

func (g group) count(of func(member) bool) (n int) {
	for _, m := range g {
		if of(m) {
			n++
		}
	}
	return n
}

// trailingSpares returns how many spares are at the end. They can leave without moving another
// member.
func (g group) trailingSpares() (n int) {
	for n < len(g) && g[len(g)-1-n].spare() && !g[len(g)-1-n].indexUnknown {
		n++
	}
	return n
}

// checkOwner returns why this user can add no socket to the group: one of them is another user's. All
// sockets of a group have one user; the kernel refuses another one, or puts it into a group of its
// own (net/ipv4/inet_connection_sock.c and inet_hashtables.c). The eject that has given a listener
// away gives it back.
func (g group) checkOwner() error {
	for _, m := range g {
		var st unix.Stat_t
		if m.fd < 0 || unix.Fstat(m.fd, &st) != nil || int(st.Uid) == os.Geteuid() {
			continue
		}
		return fmt.Errorf("the present listener belongs to user %s since an eject that was interrupted: "+
			"run sudo superctl eject --undo", userName(st.Uid))
	}
	return nil
}
