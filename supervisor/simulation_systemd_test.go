package supervisor

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// simStore is systemd's descriptor store as one daemon uses it.
type simStore struct{ d *simDaemon }

func (st simStore) Put(name string, fd int) error {
	if !st.d.edge("store " + name) {
		return errSimDead
	}
	st.d.m.mu.Lock()
	defer st.d.m.mu.Unlock()
	if st.d.m.storeFails {
		st.d.m.storeFailed = time.Now()
		return errors.New("sendmsg: no buffer space available")
	}
	what := st.d.fds[fd]
	if s, ok := what.(*simSocket); ok {
		s.refs++
	}
	st.d.m.stored[name] = what
	return nil
}

func (st simStore) Remove(name string) error {
	if !st.d.edge("unstore " + name) {
		return errSimDead
	}
	st.d.m.locked(func() { st.d.m.unstore(name) })
	return nil
}

func (simStore) Check() error { return nil }

func (m *sim) unstore(name string) {
	if s, ok := m.stored[name].(*simSocket); ok {
		m.unref(s)
	}
	delete(m.stored, name)
}

func (d *simDaemon) check(context.Context) (string, error) {
	if !d.edge("check") {
		return "", errSimDead
	}
	return "2", nil
}

// handOver starts the next daemon with the descriptors of this one.
func (d *simDaemon) handOver(all []Descriptor) error {
	if !d.edge("hand over") {
		return errSimDead
	}
	d.m.locked(func() { d.checkLeft("hands over") })
	handed := make(map[string]any)
	for _, one := range all {
		_ = one.Use(func(fd int) error { d.m.locked(func() { handed[one.Name] = d.fds[fd] }); return nil })
	}
	var how int
	d.m.locked(func() { how = d.m.upgrade })
	next := d.m.daemon(handed)
	if how == 1 {
		next.dieAt = 3
	}
	next.run()
	select {
	case <-next.s.Adopted():
	case <-next.died:
		return errors.New("the new daemon has ended")
	case <-d.died:
		// The new one goes on by itself, as it would: it does not know.
		select {
		case <-next.s.Adopted():
		case <-next.died:
			return errSimDead
		}
	}
	d.m.locked(func() {
		d.m.now = next
		d.leaving = true
	})
	return nil
}

// simDisk is the state file and what of it would survive a loss of power.
type simDisk struct {
	path    string
	visible []byte
	durable [][]byte // any of these may be there after a loss of power
	fails   error
	failed  time.Time  // the last time
	began   time.Time  // of the failures since the last file that was written
	by      *simDaemon // who has failed
}

// behind reports whether the newest state file could not be written.
func (k *simDisk) behind() bool { return !k.began.IsZero() }

// simMoment is the longest time between what a daemon decides and what it does.
const simMoment = 5 * time.Millisecond

// fileTakes is how long the state file may be behind what the daemon knows: a write that is in
// progress, and one of its own.
func (m *sim) fileTakes() time.Duration {
	return 2 * time.Duration(m.sc.Site.SlowDisk) * time.Millisecond
}

var errSimDisk = []error{syscall.ENOSPC, syscall.EIO}

// mount puts the file where a daemon that starts reads it.
func (k *simDisk) mount() {
	_ = os.Remove(k.path)
	if k.visible != nil {
		_ = os.WriteFile(k.path, k.visible, 0o600)
	}
}

// lose is a loss of power: a rename that was not made durable may or may not have happened.
func (k *simDisk) lose(pick uint64) {
	if len(k.durable) > 0 {
		k.visible = k.durable[pick%uint64(len(k.durable))]
	}
	k.durable = [][]byte{k.visible}
}

func (d *simDaemon) writeState(_ string, data []byte) error {
	if !d.edge("save") {
		return errSimDead
	}
	if ms := d.m.sc.Site.SlowDisk; ms > 0 {
		time.Sleep(time.Duration(ms) * time.Millisecond)
		if d.isDead() {
			return errSimDead
		}
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	k := &d.m.disk
	if k.fails != nil {
		k.failed, k.by = time.Now(), d
		if !k.behind() {
			k.began = k.failed
		}
		return k.fails
	}
	k.began = time.Time{}
	k.visible = data
	k.durable = append(k.durable, data)
	d.m.saves++
	return nil
}

func (d *simDaemon) syncState(string) error {
	if !d.edge("sync") {
		return errSimDead
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	k := &d.m.disk
	if k.fails != nil {
		return k.fails
	}
	k.durable = [][]byte{k.visible}
	return nil
}
