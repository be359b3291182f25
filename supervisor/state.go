package supervisor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"superctl/api"
	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
)

// stateNeeds is the oldest format whose daemons understand what is written now, if they pass over
// the fields that they do not know. A daemon reads its own format (stateVersion), older ones, and
// newer ones that say that it can. So an upgrade can be taken back.
const stateNeeds = 2

// state is everything that the next daemon needs to know, in one durable file (DESIGN 10).
type state struct {
	Version       int           `json:"version"`
	Needs         int           `json:"needs"`
	App           string        `json:"app"`
	Next          int           `json:"next_generation"`
	Live          int           `json:"live"` // generation, 0 for none
	Release       *Release      `json:"release"`
	Previous      *Release      `json:"previous"`
	LiveSince     *liveSince    `json:"live_since,omitempty"`
	PreviousSince *liveSince    `json:"previous_since,omitempty"`
	Change        *ChangeStatus `json:"change"`
	// that Change goes to; 0 = not known yet
	Target int `json:"change_generation,omitempty"`
	// that Change came from, and goes back to; 0 = none
	From int `json:"change_from,omitempty"`
	// the previous release before Change, and since when that was live: a revert restores them
	WasPrevious      *Release                 `json:"change_previous,omitempty"`
	WasPreviousSince *liveSince               `json:"change_previous_since,omitempty"`
	Scale            map[string]int           `json:"scale,omitempty"` // instances that an operator asked for
	Paused           []string                 `json:"paused,omitempty"`
	Maintenance      *api.MaintenanceStatus   `json:"maintenance,omitempty"`
	Listeners        map[string][]memberState `json:"listeners"`
	Gates            map[string]gateState     `json:"gates,omitempty"` // of Listeners, by the same names
	Last             *Outcome                 `json:"last"`
	// what is to be told of a change if its daemon ends now
	Untold      *Outcome          `json:"untold,omitempty"`
	ToldHealth  string            `json:"told_health,omitempty"` // trouble that was told and is not over
	Generations []generationState `json:"generations"`
	// of the scheduled commands, by their names
	Cron          map[string]*cronState `json:"cron,omitempty"`
	Follower      bool                  `json:"follower,omitempty"` // another host led the last run over several
	stateAddition                       //nolint:unused // see format.go
}

type generationState struct {
	ID      int             `json:"id"`
	State   GenerationState `json:"state"`
	Since   time.Time       `json:"since"`
	Plan    Plan            `json:"plan"`
	Private bool            `json:"private,omitempty"` // a preflight's: it is ended, never adopted
	Held    bool            `json:"held,omitempty"`    // it has no workers yet, or is only kept as the way back
	Tried   bool            `json:"tried,omitempty"`   // it has had connections in a canary
	Workers []workerState   `json:"workers"`
}

// gateState is what a listener was, so that the generations which were started with it can finish
// with it, whatever the config says of it by then.
type gateState struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Kind    string `json:"kind"`
}

// memberState is one listener of a gate; the order of the list is the order of the kernel's group.
type memberState struct {
	Gen   int    `json:"generation"` // that it was staged for; 0 = a spare, which only keeps a place
	Inode uint64 `json:"inode"`
	Users []int  `json:"users,omitempty"` // generations whose workers accept from it
}

// workerState names a running worker so that no other process is taken for it: a pid alone may have
// been reused.
type workerState struct {
	Process   string        `json:"process"`
	Instance  int           `json:"instance"`
	State     InstanceState `json:"state"`
	Since     time.Time     `json:"since"`
	Restarts  int           `json:"restarts"`
	Reason    string        `json:"reason,omitempty"`
	PID       int           `json:"pid"`        // 0 = no worker runs
	StartTime uint64        `json:"start_time"` // clock ticks since boot, proc_pid_stat(5) field 22
	Tag       string        `json:"tag"`
	Output    string        `json:"output"`
	Scratch   int           `json:"scratch,omitempty"` // generation whose scratch directory it has; 0 = its own
	// Leaving says that it may have had its stop signal by the time that this is read.
	Leaving bool `json:"leaving,omitempty"`
	// Own says under which number a gate knows each listener that is this worker's alone.
	Own map[string]int `json:"own,omitempty"`
	// Flag is the path of what tells it that it drains; Hooked says that it looks at it.
	Flag   string `json:"flag,omitempty"`
	Hooked bool   `json:"hooked,omitempty"`
	// Notified says that it has said READY=1, which it says once.
	Notified bool `json:"notified,omitempty"`
}

// mark is what everything that a supervisor of this state directory starts carries in its
// environment.
func (co *core) mark() string {
	sum := sha256.Sum256([]byte(co.opt.State))
	return co.opt.App + "-" + hex.EncodeToString(sum[:4])
}

// stateName is the name of the state file in the state directory.
const stateName = "state.json"

// ReplaceFile writes a file of the state directory: after a crash it is there complete, as it was
// or as it is now, and when ReplaceFile has returned without an error, as it is now.
func ReplaceFile(path string, data []byte) error {
	disk := system{write: writeFile, sync: syncDir}
	return disk.replace(path, data)
}

// replace is how every file of the state directory is written.
func (o *system) replace(path string, data []byte) error {
	if err := o.write(path, data); err != nil {
		return err
	}
	return o.sync(filepath.Dir(path))
}

// writeFile replaces a file, complete or not at all. Its error names the file, and not a temporary one.
func writeFile(path string, data []byte) error {
	err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path)))
	if at := new(fs.PathError); errors.As(err, &at) {
		return &fs.PathError{Op: at.Op, Path: path, Err: at.Err}
	}
	return err
}

// syncDir makes the renaming of a file in a directory durable; renameio syncs the file only.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// saved is what the next daemon needs to know of an instance.
func (in *instance) saved() workerState {
	ws := workerState{
		Process: in.proc.Name, Instance: in.index, State: in.state, Since: in.since, Restarts: in.restarts,
		Reason: in.reason, Output: in.outPath,
		Leaving: in.leaving, Own: in.ownNumbers(), Flag: in.flag.path, Hooked: in.hooked, Scratch: in.scratch, Notified: in.notified,
	}
	if in.w != nil {
		ws.PID, ws.StartTime, ws.Tag = in.w.PID(), in.w.StartTime(), in.w.Tag()
	}
	return ws
}

// ownNumbers is what the gates call the listeners that are the instance's alone.
func (in *instance) ownNumbers() map[string]int {
	if len(in.own) == 0 {
		return nil
	}
	numbers := make(map[string]int)
	for name, l := range in.own {
		numbers[name] = l.number
	}
	return numbers
}

// CheckState reports whether a daemon of this version can go on with the state file that is there.
func (s *Supervisor) CheckState() error {
	_, err := s.journal.load()
	return err
}

// load reads the state file. No file is an empty state. A damaged one is an *UnreadableStateError;
// one of another app, or of a newer daemon, is refused.
func (j *journal) load() (state, error) { return readState(j.opt.State, j.opt.App) }

// readState reads the state file of an app in a state directory.
func readState(dir, app string) (state, error) {
	st, path := state{Next: 1}, filepath.Join(dir, stateName)
	unreadable := func(why string) (state, error) {
		return state{}, &UnreadableStateError{Path: path, Why: why}
	}
	data, err := readRegular(path)
	if other := new(notRegularError); errors.As(err, &other) {
		return unreadable("is " + other.what)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read state: %w", err)
	}
	var head stateHead
	if err := json.Unmarshal(data, &head); err != nil {
		return unreadable("cannot be read: " + whyNotJSON(err))
	}
	if head.Version < 1 {
		return unreadable("is invalid: it has no version")
	}
	if err := head.check(path, app); err != nil {
		return state{}, err
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return unreadable("cannot be read: " + whyNotJSON(err))
	}
	if why := st.nonsense(); why != "" {
		return unreadable("is invalid: " + why)
	}
	st.onMonotonicClock(time.Now())
	return st, nil
}

// onMonotonicClock gives the times since when something lasts a reading of the monotonic clock, which a file
// does not keep: so it does not matter to what the clock of the machine is set later. A time after now
// becomes now: the clock was set back.
func (st *state) onMonotonicClock(now time.Time) {
	convert := func(since *time.Time) {
		if !since.IsZero() {
			*since = now.Add(-max(0, now.Sub(*since)))
		}
	}
	for i := range st.Generations {
		g := &st.Generations[i]
		convert(&g.Since)
		for j := range g.Workers {
			convert(&g.Workers[j].Since)
		}
	}
}

// stateHead is the part of a state file by which a daemon decides whether it can read the rest.
type stateHead struct {
	Version int    `json:"version"`
	Needs   int    `json:"needs"`
	App     string `json:"app"`
}

// check returns an error for the state file of a newer daemon or of another app.
func (head *stateHead) check(path, app string) error {
	switch {
	case cmp.Or(head.Needs, head.Version) > stateVersion:
		return fmt.Errorf("state file %s has version %d, and this daemon reads up to %d; nothing was started: install the newer "+
			"superctl, or move the file away to start with the release that `current` points to", path, head.Version, stateVersion)
	case head.App != app:
		return fmt.Errorf("state file %s belongs to the app %q, not to %q; nothing was started: give each app a state directory of its own",
			path, head.App, app)
	}
	return nil
}

// endEarlier kills what a worker of an earlier daemon left running; a pid that is another process's
// by now is left alone.
func endEarlier(ws workerState, groups *cgroup.Tree) error {
	if ws.PID == 0 {
		return nil
	}
	w, err := worker.Adopt(ws.PID, ws.StartTime, ws.Tag, -1, groups)
	if errors.Is(err, worker.ErrGone) {
		return worker.KillTagged(ws.Tag)
	}
	if err != nil {
		return err
	}
	if err := w.KillAll(); err != nil {
		return err
	}
	<-w.Done()
	return nil
}
