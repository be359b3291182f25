package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// A daemon that is killed while its state file is behind, as after a save that a full disk has
// refused, leaves workers that the file does not know. They serve, so the next daemon adopts them:
// their environment says whose place they have.

// findWorkers returns the workers that run and that the state file does not know.
func (rc *recovery) findWorkers(st *state) []worker.Found {
	found, err := rc.os.find(rc.mark())
	if err != nil {
		rc.log.Error("find workers that the state file does not know", zap.Error(err))
	}
	return slices.DeleteFunc(found, func(f worker.Found) bool {
		return slices.ContainsFunc(st.Generations, func(gs generationState) bool {
			return slices.ContainsFunc(gs.Workers, func(ws workerState) bool {
				return ws.PID == f.PID && ws.StartTime == f.Start
			})
		})
	})
}

// adoptFound takes over a worker that the state file does not know. ws is what the file says of its
// place, and w its worker; nil when that is gone.
func (rc *recovery) adoptFound(st *state, g *generation, ws *workerState, found []worker.Found) process {
	p := g.process(ws.Process)
	if p == nil {
		return nil
	}
	for _, f := range found {
		if f.Generation != g.id || f.Process != ws.Process || f.Instance != ws.Instance || !p.runsAs(f.UID) {
			continue
		}
		now := workerState{
			Process: f.Process, Instance: f.Instance, State: InstanceStarting, Since: time.Now(),
			Restarts: ws.Restarts + 1,
			PID:      f.PID, StartTime: f.Start, Tag: f.Tag,
			Output: rc.outputOf(f, ws.Output), Own: ws.Own, Flag: rc.flagOf(f), Scratch: ws.Scratch,
			Notified: true, // it may have said so to the daemon that has started it, and says it once
		}
		w, err := rc.os.adopt(now, -1)
		if err != nil {
			if !errors.Is(err, worker.ErrGone) {
				rc.log.Error("adopt a worker that the state file does not know", zap.String("process", f.Process),
					zap.Int("instance", f.Instance), zap.Int("pid", f.PID), zap.Error(err))
			}
			continue
		}
		rc.log.Warn("the state file does not know a worker that runs; it is adopted", zap.String("process", f.Process),
			zap.Int("instance", f.Instance), zap.Int("generation", f.Generation), zap.Int("pid", f.PID))
		*ws = now
		rc.learnListeners(st, g, ws, f.Listeners)
		return w
	}
	return nil
}

// learnListeners adds the listeners that a found worker was given to those of the state file, which
// may lack them as it lacks the worker. adoptListeners looks for them among its sockets. A worker of an
// earlier version does not say what it was given: it has those of its place then.
func (rc *recovery) learnListeners(st *state, g *generation, ws *workerState, given map[string]uint64) {
	p := g.process(ws.Process)
	for _, name := range p.Listen {
		inode, number := given[name], g.id
		key, known := rc.owner.listeners.keyOf(g.gates[name])
		if !known || inode == 0 {
			continue
		}
		if g.laned(p) {
			number = lane(g.id, ws.Instance)
			ws.Own = put(ws.Own, name, number)
		}
		if !slices.ContainsFunc(st.Listeners[key], func(m memberState) bool { return m.Inode == inode }) {
			members := append(withoutMember(st.Listeners[key], number), memberState{Gen: number, Inode: inode, Users: []int{g.id}})
			st.Listeners = put(st.Listeners, key, members)
		}
	}
}

// put returns m with one more entry.
func put[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = make(map[string]V)
	}
	m[key] = value
	return m
}

// withoutMember returns a gate's members without one that was closed. As in the kernel's group, the last
// one then has its place.
func withoutMember(list []memberState, number int) []memberState {
	i := slices.IndexFunc(list, func(m memberState) bool { return m.Gen == number })
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i] = list[last]
	return list[:last]
}

// outputOf is the path of the pipe that a worker writes to: its own, if it is one of its place's,
// else what the file says.
func (rc *recovery) outputOf(f worker.Found, recorded string) string {
	_, place, _ := strings.Cut(filepath.Base(f.Output), ".") // behind the generation that it was made for
	own := strings.HasPrefix(place, fmt.Sprintf("%s.%d.", f.Process, f.Instance))
	if own && filepath.Dir(f.Output) == filepath.Join(rc.opt.State, "log") {
		return f.Output
	}
	return recorded
}

// flagOf is the path of a worker's drain flag; "" when what it says is not where the flags of its
// place are.
func (rc *recovery) flagOf(f worker.Found) string {
	if f.Flag == "" || f.Flag != rc.owner.flags.path(f.Generation, f.Process, f.Instance) {
		return ""
	}
	return f.Flag
}

// runsAs reports whether the process's workers run as that user: what another user has started is
// not ours, whatever it says.
func (p *Process) runsAs(uid uint32) bool {
	if p.User != nil {
		return p.User.UID == uid
	}
	return uint32(os.Geteuid()) == uid //nolint:gosec // user ids are not negative
}

// unrecorded returns the places of a generation that have a found worker, and that the state file
// does not have.
func (gs *generationState) unrecorded(found []worker.Found) (list []workerState) {
	for _, f := range found {
		at := func(ws workerState) bool { return ws.Process == f.Process && ws.Instance == f.Instance }
		if f.Generation == gs.ID && !slices.ContainsFunc(gs.Workers, at) && !slices.ContainsFunc(list, at) {
			list = append(list, workerState{
				Process: f.Process, Instance: f.Instance, State: InstanceExited, Since: time.Now(),
			})
		}
	}
	return list
}
