package socket

import "slices"

// group is the listeners of a SO_REUSEPORT group in the kernel's order, so that an index in it is what a filter returns.
// The kernel appends a listener when it begins to listen; when one leaves, it moves the last one into its place
// (net/core/sock_reuseport.c, reuseport_add_sock and __reuseport_detach_sock).
type group []member

// member is a listener of the group.
type member struct {
	gen      int // 0 is a spare: it only keeps a place, and nobody is sent to it
	fd       int // -1 is foreign: held by other processes, not by us
	inode    uint32
	stranger bool // foreign, and not an earlier daemon's: never gets a connection
	unsure   bool // its index is not known: several members have left at once, or it came into the place of such a one
}

func (m member) spare() bool   { return m.gen == 0 && m.fd >= 0 }
func (m member) foreign() bool { return m.fd < 0 }
func (m member) earlier() bool { return m.foreign() && !m.stranger }

// find is the index of a generation's listener, or -1.
func (g group) find(gen int) int {
	return slices.IndexFunc(g, func(m member) bool { return m.gen == gen && gen != 0 })
}

// newest is the index of the youngest generation's listener, or -1.
func (g group) newest() int {
	newest := -1
	for i, m := range g {
		if m.gen != 0 && (newest < 0 || m.gen > g[newest].gen) {
			newest = i
		}
	}
	return newest
}

// free is the index of a spare that a new generation can have, or -1.
func (g group) free() int {
	return slices.IndexFunc(g, func(m member) bool { return m.spare() && !m.unsure })
}

// leave does what the kernel does when the member at i leaves.
func (g group) leave(i int) group {
	last := len(g) - 1
	unsure := g[i].unsure
	g[i] = g[last]
	g[i].unsure = g[i].unsure || unsure
	return g[:last]
}

// span is the first of the places in which the listeners of an earlier daemon are, and how many places that is.
func (g group) span() (first, count int) {
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

// trailing is how many spares stand at the end. They can leave without moving anybody.
func (g group) trailing() (n int) {
	for n < len(g) && g[len(g)-1-n].spare() && !g[len(g)-1-n].unsure {
		n++
	}
	return n
}
