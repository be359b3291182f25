package supervisor

import (
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// listenerPrefix begins the names of listeners among what is handed over.
const listenerPrefix = "listener/"

// adoptListeners gives each gate back its listeners: from what was handed over, else from the
// workers that hold them. The state file may be older or newer than what was handed over. So a
// listener is known by its inode and not by its name, what the file does not know is closed before
// a gate looks at who listens, and the gate finds out itself in which order the kernel has them.
func (rc *recovery) adoptListeners(st *state) error {
	handed := rc.takeListeners()
	adopted := make(map[listener]bool)
	for key, members := range ordered(st.Listeners) {
		gate := rc.owner.listeners.gateOf(st, key)
		if gate == nil {
			continue
		}
		for _, m := range members {
			if rc.adoptListener(gate, m, handed) {
				adopted[listener{gate, m.Gen}] = true
			}
		}
	}
	handed.close(rc.owner)
	for _, g := range rc.owner.generations {
		for _, in := range g.instances {
			maps.DeleteFunc(in.own, func(_ string, l listener) bool { return !adopted[l] })
			rc.findOwn(in)
			if in.state == InstanceStarting && in.lacksListener() {
				in.state = InstanceStopping // it cannot prove itself; when it has ended another one is started
				rc.finishing = append(rc.finishing, in)
			}
		}
	}
	for key, members := range ordered(st.Listeners) {
		if gate := rc.owner.listeners.gateOf(st, key); gate != nil {
			if err := gate.Locate(sentTo(st, gate.Name(), members)); err != nil {
				rc.log.Error(
					"a listener is not as the earlier daemon has left it", zap.String("listener", gate.Name()),
					zap.Error(err),
				)
			}
		}
	}
	return nil
}

// findOwn finds the listeners that are a worker's alone by the sockets that it holds: the state file
// does not say whose they are if the last daemon ended before the file had the worker.
func (rc *recovery) findOwn(in *instance) {
	if in.w == nil || !in.gen.laned(in.proc) {
		return
	}
	for _, name := range in.proc.Listen {
		for _, m := range in.gen.gates[name].Members() {
			if in.own[name].held() || m.Gen>>laneBits != in.gen.id {
				continue
			}
			fd, err := in.w.Socket(rc.inode(m.FD))
			if err != nil {
				continue // another worker has it
			}
			rc.os.close(fd)
			in.own[name] = listener{in.gen.gates[name], m.Gen}
			if in.gen.staged[name] == in.own[name] {
				delete(in.gen.staged, name)
			}
		}
	}
}

// lacksListener reports whether a worker with a listener of its own was adopted without it: the last
// daemon ended before the state file had the listener.
func (in *instance) lacksListener() bool {
	return in.gen.laned(in.proc) &&
		slices.ContainsFunc(in.proc.Listen, func(name string) bool { return !in.listener(name).held() })
}

// adoptListener gives a gate one listener back, and its generations with it.
func (rc *recovery) adoptListener(gate Gate, m memberState, handed handedListeners) bool {
	name := gate.Name()
	fd, ok := rc.findListener(name, m, handed)
	if !ok {
		return false
	}
	if err := gate.Adopt(m.Gen, fd); err != nil {
		rc.log.Error("adopt listener", zap.String("listener", name), zap.Int("generation", m.Gen), zap.Error(err))
		return false
	}
	l := listener{gate, m.Gen}
	for _, g := range rc.owner.generations {
		if l.held() && g.gates[name] == gate && slices.Contains(m.Users, g.id) && !g.uses(l) {
			g.staged[name] = l
		}
	}
	return true
}

// sentTo is the places in an earlier daemon's list to which it has sent new connections.
func sentTo(st *state, name string, members []memberState) (places []int) {
	var serving, all, page []int
	for i, m := range members {
		if st.Maintenance != nil && m.Gen != 0 && slices.Contains(m.Users, st.Maintenance.Generation) {
			page = append(page, i)
		}
		if m.Gen == 0 || !slices.Contains(m.Users, st.Live) {
			continue
		}
		all = append(all, i)
		if st.serves(name, m.Gen) {
			serving = append(serving, i)
		}
	}
	if len(page) > 0 {
		return page
	}
	if len(serving) > 0 {
		return serving
	}
	return all
}

// serves reports whether a listener is a worker's own, and that worker serves.
func (st *state) serves(name string, number int) bool {
	return slices.ContainsFunc(st.Generations, func(gs generationState) bool {
		return gs.ID == st.Live && slices.ContainsFunc(gs.Workers, func(ws workerState) bool {
			return ws.Own[name] == number && ws.State == InstanceReady
		})
	})
}

// handedListeners is the listeners that an earlier daemon has handed over, by inode. One that
// several generations share comes once for each.
type handedListeners map[uint64]*handedListener

type handedListener struct {
	fds   []int
	names []string
}

// takeListeners takes all listeners that were handed over, under whatever name.
func (rc *recovery) takeListeners() handedListeners {
	all := make(handedListeners)
	for _, name := range rc.opt.Handed {
		if !strings.HasPrefix(name, listenerPrefix) {
			continue
		}
		if fd := rc.takeInherited(name); fd >= 0 {
			number := rc.inode(fd)
			if all[number] == nil {
				all[number] = &handedListener{}
			}
			all[number].fds = append(all[number].fds, fd)
			all[number].names = append(all[number].names, name)
		}
	}
	return all
}

// take takes one descriptor of a listener.
func (h handedListeners) take(inode uint64) (fd int, ok bool) {
	l := h[inode]
	if l == nil || len(l.fds) == 0 {
		return -1, false
	}
	fd, l.fds, l.names = l.fds[0], l.fds[1:], l.names[1:]
	return fd, true
}

// close closes what was not taken: the state file does not know it, so no connection was ever
// sent there.
func (h handedListeners) close(s *Supervisor) {
	for _, l := range ordered(h) {
		for i, fd := range l.fds {
			s.log.Info(
				"a listener that was handed over is not in the state file, and is closed",
				zap.String("name", l.names[i]),
			)
			s.os.close(fd)
			s.store.forget(l.names[i])
		}
	}
}

// findListener finds a descriptor of a listener that an earlier daemon bound.
func (rc *recovery) findListener(name string, m memberState, handed handedListeners) (int, bool) {
	if fd, ok := handed.take(m.Inode); ok {
		return fd, true
	}
	for _, g := range ordered(rc.owner.generations) {
		for _, in := range g.instances {
			if in.w == nil || !slices.Contains(in.proc.Listen, name) {
				continue
			}
			if fd, err := in.w.Socket(m.Inode); err == nil {
				return fd, true
			}
		}
	}
	return -1, false
}

// inode is the number by which a descriptor's file is known, also to another daemon; 0 = it cannot
// be told.
func (co *core) inode(fd int) uint64 {
	n, err := co.os.inode(fd)
	if err != nil {
		return 0
	}
	return n
}
