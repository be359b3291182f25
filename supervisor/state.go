package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// stateVersion is the format of the state file. A daemon reads its own and older ones, and refuses newer ones.
const stateVersion = 1

// state is everything that the next daemon needs to know, in one durable file (DESIGN 10).
type state struct {
	Version     int               `json:"version"`
	App         string            `json:"app"`
	Next        int               `json:"next_generation"`
	Live        int               `json:"live"` // generation, 0 for none
	Release     *Release          `json:"release"`
	Previous    *Release          `json:"previous"`
	Change      *ChangeStatus     `json:"change"`
	Last        *Outcome          `json:"last"`
	Generations []generationState `json:"generations"`
}

type generationState struct {
	ID      int             `json:"id"`
	State   GenerationState `json:"state"`
	Since   time.Time       `json:"since"`
	Plan    Plan            `json:"plan"`
	Workers []workerState   `json:"workers"`
}

// workerState names a running worker so that nobody else can be taken for it: a pid alone may have been reused.
type workerState struct {
	Process   string `json:"process"`
	Instance  int    `json:"instance"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks since boot, proc_pid_stat(5) field 22
	Tag       string `json:"tag"`
	Output    string `json:"output"`
}

func (s *Supervisor) statePath() string { return filepath.Join(s.opt.State, "state.json") }

// save writes the state file: complete or not at all, and durable.
func (s *Supervisor) save() error {
	s.dirty = false
	st := state{
		Version: stateVersion, App: s.opt.App, Next: s.next, Release: s.release, Previous: s.previous,
		Change: s.changing(), Last: s.last, Generations: []generationState{},
	}
	if s.live != nil {
		st.Live = s.live.id
	}
	for _, g := range s.generations {
		gs := generationState{ID: g.id, State: g.state, Since: g.since, Plan: g.plan, Workers: []workerState{}}
		for _, in := range g.instances {
			if in.w != nil {
				gs.Workers = append(gs.Workers, workerState{in.proc.Name, in.index, in.w.PID(), in.w.StartTime(), in.w.Tag(), in.outPath})
			}
		}
		st.Generations = append(st.Generations, gs)
	}
	slices.SortFunc(st.Generations, func(a, b generationState) int { return a.ID - b.ID })
	data, err := json.MarshalIndent(st, "", "  ")
	if err == nil {
		err = renameio.WriteFile(s.statePath(), data, 0o600, renameio.WithTempDir(s.opt.State))
	}
	if err != nil {
		err = fmt.Errorf("save state: %w", err)
		s.log.Error("save state", zap.Error(err))
	}
	return err
}

// load reads the state file; no file is an empty state, and anything else that cannot be understood is refused.
func (s *Supervisor) load() (state, error) {
	st := state{Next: 1}
	data, err := os.ReadFile(s.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read state: %w", err)
	}
	refuse := func(why string) (state, error) {
		return state{}, fmt.Errorf("state file %s %s; nothing was started. Move it away to start without it: "+
			"the live release is then the one that `current` points to", s.statePath(), why)
	}
	var head struct {
		Version int    `json:"version"`
		App     string `json:"app"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return refuse("cannot be read: " + err.Error())
	}
	switch {
	case head.Version < 1 || head.Version > stateVersion:
		return refuse(fmt.Sprintf("has version %d; this daemon reads up to %d", head.Version, stateVersion))
	case head.App != s.opt.App:
		return refuse(fmt.Sprintf("belongs to the app %q, not to %q", head.App, s.opt.App))
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return refuse("cannot be read: " + err.Error())
	}
	return st, nil
}

// recover takes over from an earlier daemon: it learns what was live, and ends the workers that outlived it.
func (s *Supervisor) recover() error {
	if err := os.MkdirAll(filepath.Join(s.opt.State, "log"), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	st, err := s.load()
	if err != nil {
		return err
	}
	s.next, s.release, s.previous, s.last = st.Next, st.Release, st.Previous, st.Last
	if st.Change != nil {
		s.log.Warn("the last daemon ended during a change", zap.String("kind", st.Change.Kind),
			zap.String("release", st.Change.Release), zap.String("step", st.Change.Step))
	}
	for _, g := range st.Generations {
		s.next = max(s.next, g.ID+1)
		for _, w := range g.Workers {
			if err := s.os.end(w); err != nil {
				return fmt.Errorf("end worker %s.%d of an earlier daemon (pid %d): %w", w.Process, w.Instance, w.PID, err)
			}
		}
	}
	return s.clearOutputs()
}

// clearOutputs removes pipes that no worker writes to any more.
func (s *Supervisor) clearOutputs() error {
	left, err := filepath.Glob(filepath.Join(s.opt.State, "log", "g*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove old output pipe: %w", err)
		}
	}
	return nil
}

// endEarlier kills what a worker of an earlier daemon left running; a pid that is somebody else's by now is left alone.
func endEarlier(ws workerState) error {
	w, err := worker.Adopt(ws.PID, ws.StartTime, ws.Tag)
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
