package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

// journal keeps the state file: what the next daemon must know. The owner only takes snapshots of
// what it knows; a goroutine writes them, one at a time, because a disk may take its time. While
// one is being written the owner goes on, and the next snapshot has all that has changed meanwhile.
// A step that must be in the file before the next one waits for that with durable.
//
// Owned by Run, but for durable.
type journal struct {
	*core
	owner       *Supervisor
	dirty       bool // the newest snapshot is behind
	awaited     bool // a step waits for the next snapshot, so that it does not wait for notBefore
	taken       int  // snapshots
	written     int  // newest snapshot that is durable
	failed      int  // newest snapshot that could not be written
	failure     error
	tries       int        // writes that have failed in a row
	began       time.Time  // when the last write began
	notBefore   time.Time  // when the next write that no step waits for may begin
	writing     chan error // result of the write in progress, of capacity 1; nil = none is
	interrupted state      // of the last daemon: what it was doing when it ended
}

// writeTime is how long a step waits for the state file.
const writeTime = 10 * time.Second

// lastRetry is the longest time between two tries of what keeps a change or the state file from
// being finished. Each step of a change tries to write the file, too, so the number of failures says
// little about how long the disk has failed.
const lastRetry = time.Second

// After a write that took a second, say, the next one begins restTimes seconds later, but never more
// than longestRest later; one that a step waits for begins at once. Otherwise a thousand workers that
// start would keep a processor busy with a thousand state files. A daemon that dies may so leave out
// the workers of the last longestRest; the next daemon finds them by their environment.
const (
	restTimes   = 4
	longestRest = 100 * time.Millisecond
)

// durable waits until all that the owner knows when it is called is in the state file, and returns
// why it is not. It is for goroutines other than the owner.
func (j *journal) durable() error {
	ctx, cancel := context.WithTimeoutCause(
		context.Background(), writeTime, fmt.Errorf("save state: not written within %s", writeTime),
	)
	defer cancel()
	var snapshot int
	if err := j.do(func() {
		j.dirty, j.awaited = true, true
		snapshot = j.taken + 1
	}); err != nil {
		return err
	}
	return j.await(ctx, func() (bool, error) {
		if j.written >= snapshot {
			return true, nil
		}
		if j.failed >= snapshot {
			return false, j.failure
		}
		return false, nil
	})
}

// mended waits until a state file that could not be written is up to date again; failed is the
// error when it is not until ctx ends.
func (j *journal) mended(ctx context.Context, failed error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, writeTime, failed)
	defer cancel()
	return j.await(ctx, func() (bool, error) { return !j.behind(), nil })
}

// behind reports whether the newest write has failed.
func (j *journal) behind() bool { return j.tries > 0 }

// due reports whether a write is to begin.
func (j *journal) due() bool {
	return j.dirty && j.writing == nil && (j.awaited || !time.Now().Before(j.notBefore))
}

// begin begins to write what has changed. What changes meanwhile is written afterwards: the end of
// a write has a turn of its own.
func (j *journal) begin() {
	j.dirty, j.awaited, j.began = false, false, time.Now()
	j.taken++
	st, writing := j.snapshot(), make(chan error, 1)
	j.writing = writing
	j.async(func() {
		j.enter("")
		writing <- j.write(st)
		j.post(func() {
			if j.writing == writing {
				j.end()
			}
		})
	})
}

// end takes the result of a write.
func (j *journal) end() {
	err := <-j.writing
	j.writing = nil
	j.note(err)
}

// note notes the result of writing the newest snapshot. What failed is tried again, with back-off:
// a disk that was full may have room, and a worker that the file does not know would be a stranger
// to the next daemon.
func (j *journal) note(err error) {
	j.owner.health.report(j.diskTrouble("state", err, "changes are refused until it can be written"))
	if err == nil {
		j.written, j.tries = j.taken, 0
		j.rest(min(longestRest, restTimes*time.Since(j.began)))
		return
	}
	j.log.Error("save state", zap.Error(err))
	j.failed, j.failure = j.taken, err
	j.dirty = true
	wait := min(lastRetry, j.backoff(j.tries+1))
	j.tries++
	j.rest(wait)
}

// rest delays the next write, unless a step waits for that one.
func (j *journal) rest(wait time.Duration) {
	j.notBefore = time.Now().Add(wait)
	if wait > 0 {
		j.postAfter(wait, nothing)
	}
}

// flush writes all that the owner knows, and waits for it: when the daemon begins, hands over and
// ends, the owner has nothing else to do.
func (j *journal) flush() error {
	if j.writing != nil {
		j.end()
	}
	j.dirty, j.began = false, time.Now()
	j.taken++
	err := j.write(j.snapshot())
	j.note(err)
	return err
}

// write writes the state file: complete or not at all, and durable.
func (j *journal) write(st state) error {
	data, err := json.Marshal(st)
	if err == nil {
		err = j.os.replace(filepath.Join(j.opt.State, stateName), data)
	}
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// snapshot is what the next daemon needs to know now. It shares nothing with the owner that
// changes.
func (j *journal) snapshot() state {
	s := j.owner
	st := state{
		Version: stateVersion, Needs: stateNeeds, App: j.opt.App, Next: s.next, Release: s.release,
		Previous: s.previous, LiveSince: s.liveSince, PreviousSince: s.previousSince,
		Last: s.last, ToldHealth: s.health.episode.told, Scale: maps.Clone(s.demand.scale),
		Paused: slices.Sorted(maps.Keys(s.demand.paused)), Generations: []generationState{},
		Cron: s.scheduling.saved(), Follower: s.scheduling.follower,
	}
	if s.owed != nil {
		owed := *s.owed
		st.Untold = &owed
	}
	st.Maintenance = s.maintenance.status()
	st.Listeners, st.Gates = j.members()
	j.addUnfinished(&st)
	if s.live != nil {
		st.Live = s.live.id
	}
	for _, g := range ordered(s.generations) {
		gs := generationState{
			ID: g.id, State: g.state, Since: g.since, Plan: g.plan.withoutValues(), Private: g.private, Held: g.held,
			Tried: g.tried, Workers: []workerState{},
		}
		for _, in := range g.instances {
			gs.Workers = append(gs.Workers, in.saved())
		}
		st.Generations = append(st.Generations, gs)
	}
	return st
}

// addUnfinished adds the change in progress, the generation that it goes to, and what it comes
// from. An adoption that has not begun to finish the change of an earlier daemon leaves that as it
// is, for the daemon after this one. So does one that finishes a revert, or takes back a roll: what it
// was going back from stays what it was.
func (j *journal) addUnfinished(st *state) {
	c, was := j.owner.change, j.interrupted
	if c == nil {
		return
	}
	asItWas := was.Change != nil && was.Change.Step == stepRevert ||
		slices.Contains([]string{beforeSteps, stepAdopt, stepComeBack}, c.stepName)
	if c.req.Kind == start && was.Change != nil && asItWas {
		st.Change, st.Target, st.From = was.Change, was.Target, was.From
		st.WasPrevious, st.WasPreviousSince = was.WasPrevious, was.WasPreviousSince
		return
	}
	st.Change = j.owner.changing()
	st.WasPrevious, st.WasPreviousSince = c.was.previous, c.was.previousSince
	if c.from != nil {
		st.From = c.from.id
	}
	if c.to != nil {
		st.Change.Kind, st.Target = string(c.kind), c.to.id
	}
}

// members is which listeners there are, and who uses them.
func (j *journal) members() (map[string][]memberState, map[string]gateState) {
	all, gates := make(map[string][]memberState), make(map[string]gateState)
	for key, gate := range j.owner.listeners.everyGate() {
		for _, m := range gate.Members() {
			ms := memberState{Gen: m.Gen, Inode: j.inode(m.FD)}
			for _, g := range j.owner.generations {
				if l := (listener{gate, m.Gen}); l.held() && g.uses(l) {
					ms.Users = append(ms.Users, g.id)
				}
			}
			slices.Sort(ms.Users)
			all[key] = append(all[key], ms)
			gates[key] = gateState{gate.Name(), gate.Address(), gate.Kind()}
		}
	}
	return all, gates
}

// diskTrouble is what status says of a file of the daemon's own that cannot be written; with a nil
// error that is over.
func (j *journal) diskTrouble(of string, err error, consequence string) Trouble {
	if err == nil {
		return Trouble{Of: of}
	}
	return Trouble{
		Of: of, Why: fmt.Sprintf("the %s cannot be written: %v; %s", of, err, consequence), Health: HealthDegraded,
	}
}
