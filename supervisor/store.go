package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// Store keeps descriptors beyond the end of this daemon, such as systemd's (sd_notify(3),
// FDSTORE=1).
type Store interface {
	Put(name string, fd int) error
	Remove(name string) error
	// Check finds out whether it is full: a store that is does not say so when it is given another
	// descriptor.
	Check() error
}

// Descriptor is one that the next daemon needs, under the name by which it finds it (DESIGN 10).
type Descriptor struct {
	Name string
	ID   string                           // what it is: something else under the same name has another
	Use  func(f func(fd int) error) error // hands it to f, which must not keep it
}

// notifyName is the name of the socket on which workers say READY=1.
const notifyName = "notify"

// listenerName is the name of a listener's descriptor for the next daemon.
func listenerName(listener string, m memberState) string {
	if m.Gen == 0 {
		return fmt.Sprintf("listener/%s/spare%d", listener, m.Inode)
	}
	if gen := m.Gen >> laneBits; gen > 0 {
		return fmt.Sprintf("listener/%s/g%d.%d", listener, gen, m.Gen-lane(gen, 0))
	}
	return fmt.Sprintf("listener/%s/g%d", listener, m.Gen)
}

// workerName is the name of a worker's pidfd.
func workerName(gen int, process string, index int) string {
	return fmt.Sprintf("worker/g%d/%s/%d", gen, process, index)
}

// outputName is the name of an instance's pipe. As long as a process has it open, what a worker
// wrote last is not lost.
func outputName(gen int, process string, index int) string {
	return fmt.Sprintf("log/g%d/%s/%d", gen, process, index)
}

// descriptorStore has Options.Store keep just the descriptors that the next daemon needs.
type descriptorStore struct {
	*core
	owner    *Supervisor
	held     map[string]string // what the store keeps: Descriptor.ID by name
	failures int               // comparisons with the store that have failed in a row
	timer    *time.Timer       // of the next one
}

func newDescriptorStore(s *Supervisor) descriptorStore {
	held := make(map[string]string)
	for _, name := range s.opt.Stored {
		held[name] = identityOf(name, s.opt.Extra)
	}
	return descriptorStore{core: s.core, owner: s, held: held}
}

// descriptors is the one set of named descriptors that the next daemon needs.
func (ds *descriptorStore) descriptors() map[string]Descriptor {
	all := make(map[string]Descriptor)
	add := func(name, id string, use func(func(fd int) error) error) { all[name] = Descriptor{name, id, use} }
	for _, gate := range ds.owner.listeners.everyGate() {
		for _, m := range gate.Members() {
			inode := ds.inode(m.FD)
			add(listenerName(gate.Name(), memberState{Gen: m.Gen, Inode: inode}), strconv.FormatUint(inode, 10),
				func(f func(int) error) error { return f(m.FD) })
		}
	}
	for _, g := range ds.owner.generations {
		if g.private {
			continue
		}
		for _, in := range g.instances {
			if in.w != nil {
				add(workerName(g.id, in.proc.Name, in.index), in.w.Tag(), in.w.Descriptor)
			}
			if in.out != nil {
				add(outputName(g.id, in.proc.Name, in.index), in.outPath, in.out.Descriptor)
			}
		}
	}
	for _, d := range ds.opt.Extra {
		all[d.Name] = d
	}
	if ds.owner.mailbox.socket != nil {
		add(notifyName, ds.opt.Notify, ds.owner.mailbox.socket.Descriptor)
	}
	return all
}

// inherited is the identity of what came from an earlier daemon: names hold the number of the
// generation, which is never given twice, so that a name which is still wanted means the same
// thing. Those of the daemon's own sockets do not, and each daemon may have bound others: it puts
// its own in their place.
const inherited = "inherited"

// identityOf is the identity of a descriptor that is in the store when a daemon starts.
func identityOf(name string, extra []Descriptor) string {
	if name == notifyName || slices.ContainsFunc(extra, func(d Descriptor) bool { return d.Name == name }) {
		return ""
	}
	return inherited
}

// sync makes the store keep just what the next daemon needs: each turn compares, so that a lost
// message is sent again.
func (ds *descriptorStore) sync() {
	if ds.opt.Store == nil {
		return
	}
	failed := false
	wanted := ds.descriptors()
	for name, id := range ordered(ds.held) {
		if d, ok := wanted[name]; ok && (d.ID == id || id == inherited) {
			ds.held[name] = d.ID
			continue
		}
		if err := ds.opt.Store.Remove(name); err != nil {
			ds.log.Error("take a descriptor out of the store", zap.String("name", name), zap.Error(err))
			failed = true
			continue
		}
		delete(ds.held, name)
	}
	for name, d := range ordered(wanted) {
		if _, ok := ds.held[name]; ok {
			continue
		}
		if err := d.Use(func(fd int) error { return ds.opt.Store.Put(name, fd) }); err != nil {
			ds.log.Error("put a descriptor into the store", zap.String("name", name), zap.Error(err))
			failed = true
			continue
		}
		ds.held[name] = d.ID
	}
	if !failed {
		ds.failures = 0
		return
	}
	ds.failures++
	ds.retry()
}

// forget notes that what the store has under a name is not what this daemon means by it: the number of
// a generation that the state file does not know is given again.
func (ds *descriptorStore) forget(name string) {
	if _, ok := ds.held[name]; ok {
		ds.held[name] = ""
	}
}

// retry has a turn, with back-off, in which the store is compared once more.
func (ds *descriptorStore) retry() {
	if ds.timer != nil {
		return
	}
	ds.timer = ds.postAfter(ds.backoff(ds.failures), func() { ds.timer, ds.owner.journal.dirty = nil, true })
}

// check checks the store after a change, in a goroutine of its own.
func (ds *descriptorStore) check() {
	if ds.opt.Store == nil {
		return
	}
	ds.async(func() {
		if err := ds.opt.Store.Check(); err != nil {
			ds.log.Error("after a crash of the daemon some of its descriptors would be missing", zap.Error(err))
		}
	})
}
