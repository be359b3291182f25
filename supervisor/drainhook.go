package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/drainhook"
)

// flag is what tells the workers of an instance that they drain (package drainhook).
type flag struct {
	path  string // "" = there is none
	drain bool   // what it says, where that is known
	known bool
}

// installHook writes the drain hook. Without it workers drain as their servers do by themselves.
func (s *Supervisor) installHook() {
	if s.opt.Hook == "" || s.opt.End {
		return
	}
	if err := drainhook.Install(s.opt.Hook); err != nil {
		s.log.Error("requests on persistent connections may be lost when workers are replaced", zap.Error(err))
		return
	}
	s.hooks = true
}

// openFlag makes the flag of the worker that is about to start. One that cannot be made is no
// reason for a site to be down.
func (s *Supervisor) openFlag(in *instance) {
	in.hooked = false
	if !s.hooks || !in.proc.Hook && !in.proc.Flag {
		return
	}
	if in.flag.path == "" {
		in.flag.path = s.flagPath(in.gen.id, in.proc.Name, in.index)
	}
	in.flag.drain, in.flag.known = s.turnedAway(in), true
	if err := s.setFlag(in.flag.path, in.flag.drain); err != nil {
		s.log.Error("drain flag", append(s.fields(in), zap.Error(err))...)
		in.flag = flag{}
	}
}

// setFlag sets a flag. When its directory is gone, as by a clean-up of temporary files, that is
// made again: workers look by name.
func (s *Supervisor) setFlag(path string, drain bool) error {
	err := drainhook.Set(path, drain)
	if err == nil {
		return nil
	}
	if err := drainhook.Install(s.opt.Hook); err != nil {
		return err
	}
	return drainhook.Set(path, drain)
}

// flagPath is where the flag of a place is.
func (s *Supervisor) flagPath(gen int, process string, index int) string {
	return filepath.Join(s.opt.Hook, fmt.Sprintf("g%d.%s.%d", gen, process, index))
}

// turnedAway tells whether an instance gets no new connections any more: its answers say so to the
// clients that it has.
func (s *Supervisor) turnedAway(in *instance) bool {
	switch in.gen.state {
	case Standby, Draining:
		return true
	case Booting, Staged, Live, Gone:
	}
	return in.leaving || in.state == InstanceStopping || s.stopping
}

// tell makes the flag of an instance say what is so.
func (s *Supervisor) tell(in *instance) {
	drain := s.turnedAway(in)
	if in.flag.path == "" || in.flag.known && in.flag.drain == drain {
		return
	}
	if err := s.setFlag(in.flag.path, drain); err != nil {
		s.log.Error("drain flag", append(s.fields(in), zap.Error(err))...)
		in.flag, in.hooked = flag{}, false
		s.dirty = true
		return
	}
	in.flag.drain, in.flag.known = drain, true
}

// tellAll compares, so that a rollback to a warm generation, a revert and an adoption need nothing
// of their own.
func (s *Supervisor) tellAll() {
	for _, g := range ordered(s.generations) {
		for _, in := range g.instances {
			s.tell(in)
		}
	}
}

// dropFlag removes the flag of an instance that has no worker any more.
func (s *Supervisor) dropFlag(in *instance) {
	if in.flag.path == "" {
		return
	}
	if err := drainhook.Remove(in.flag.path); err != nil {
		s.log.Error("remove drain flag", append(s.fields(in), zap.Error(err))...)
	}
	in.flag = flag{}
}

// clearFlags removes the flags that no worker of an earlier daemon looks at any more.
func (s *Supervisor) clearFlags() {
	if !s.hooks {
		return
	}
	used := make(map[string]bool)
	for _, g := range s.generations {
		for _, in := range g.instances {
			used[in.flag.path] = true
		}
	}
	left, err := filepath.Glob(filepath.Join(s.opt.Hook, "g*"))
	for _, path := range left {
		if !used[drainhook.Flag(path)] {
			err = errors.Join(err, drainhook.Remove(path))
		}
	}
	if err != nil {
		s.log.Error("remove old drain flags", zap.Error(err))
	}
}

// removeHook leaves nothing behind when the last worker is gone.
func (s *Supervisor) removeHook() {
	if !s.hooks {
		return
	}
	if err := os.RemoveAll(s.opt.Hook); err != nil {
		s.log.Error("remove the drain hook", zap.Error(err))
	}
}

// findHook notes that an instance has the hook when its worker has the flag open. It is asked for
// when that is to be known, and until it is true: the hook is there before the server is ready, and
// stays for as long as the worker lives.
func (s *Supervisor) findHook(in *instance) {
	if in.flag.path == "" || in.hooked || in.w == nil {
		return
	}
	held, err := drainhook.Held(in.flag.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("find out whether the drain hook is loaded", append(s.fields(in), zap.Error(err))...)
	}
	if held {
		s.hookLoaded(in)
	}
}

// hookLoaded notes that a server of the worker has the hook, or that its program looks at the flag
// by itself.
func (s *Supervisor) hookLoaded(in *instance) {
	if in.flag.path != "" && !in.hooked {
		in.hooked, s.dirty = true, true
	}
}

// withoutHook is what follows when a server has not loaded the hook, and what may be the cause.
const withoutHook = "the server has not loaded the drain hook: requests on persistent connections may be lost when it is replaced; " +
	"python -I, -E and -S, and wrappers that load a sitecustomize of their own (opentelemetry-instrument), keep it out"

// lacksHook reports whether a worker serves without the hook that it should have.
func (in *instance) lacksHook() bool { return in.proc.Hook && in.flag.path != "" && !in.hooked }

// missesHook writes into the log that a worker serves without the hook.
func (s *Supervisor) missesHook(in *instance) {
	s.findHook(in)
	if in.lacksHook() {
		s.log.Warn(withoutHook, s.fields(in)...)
	}
}

// hookless is the processes of the live generation that serve without the hook, for status. It
// makes nothing of the app's health.
func (s *Supervisor) hookless() (list []Trouble) {
	if s.live == nil {
		return nil
	}
	for _, in := range s.live.instances {
		of := "process " + in.proc.Name
		s.findHook(in)
		if in.state == InstanceReady && in.lacksHook() &&
			!slices.ContainsFunc(list, func(t Trouble) bool { return t.Of == of }) {
			list = append(list, Trouble{Of: of, Since: in.since, Why: withoutHook})
		}
	}
	return list
}

// parting is for how long a worker may get rid of its connections: one that has the hook or one of
// its own, or a server that does without.
func (in *instance) parting() time.Duration {
	if (in.proc.Hook || in.proc.Flag) && !in.hooked {
		return 0
	}
	return in.proc.HookWait
}
