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
	"superctl/supervisor/requests"
)

// flag is what tells the workers of an instance that they drain (package drainhook).
type flag struct {
	path  string // "" = there is none
	drain bool   // what it says, where that is known
	known bool
}

// drainFlags tells workers by their flags whether they drain.
type drainFlags struct {
	*core
	owner     *Supervisor
	installed bool // the drain hook is there for workers that start
}

// install writes the drain hook. Without it workers drain as their servers do by themselves.
func (df *drainFlags) install() {
	if df.opt.Hook == "" || df.opt.End {
		return
	}
	if err := drainhook.Install(df.opt.Hook); err != nil {
		df.log.Error("requests on persistent connections may be lost when workers are replaced", zap.Error(err))
		return
	}
	df.installed = true
}

// open makes the flag of the worker that is about to start. One that cannot be made is no
// reason for a site to be down.
func (df *drainFlags) open(in *instance) {
	in.hooked = false
	if !df.installed || !in.proc.Hook && !in.proc.Flag && !in.proc.Counts {
		return
	}
	if in.flag.path == "" {
		in.flag.path = df.path(in.gen.id, in.proc.Name, in.index)
	}
	in.place = countingPlace(in.flag.path)
	in.flag.drain, in.flag.known = in.turnedAway(), true
	if err := df.set(in.flag.path, in.flag.drain); err != nil {
		df.log.Error("drain flag", append(in.fields(), zap.Error(err))...)
		in.flag = flag{}
	}
}

// set sets a flag. When its directory is gone, as by a clean-up of temporary files, that is
// made again: workers look by name.
func (df *drainFlags) set(path string, drain bool) error {
	err := drainhook.Set(path, drain)
	if err == nil {
		return nil
	}
	if err := drainhook.Install(df.opt.Hook); err != nil {
		return err
	}
	return drainhook.Set(path, drain)
}

// path is where the flag of a place is.
func (df *drainFlags) path(gen int, process string, index int) string {
	return filepath.Join(df.opt.Hook, fmt.Sprintf("g%d.%s.%d", gen, process, index))
}

// turnedAway reports whether an instance gets no new connections any more: its answers say so to
// the clients that it has.
func (in *instance) turnedAway() bool {
	switch in.gen.state {
	case Standby, Draining:
		return true
	case Live:
		if in.owner.maintenance.covers(in.gen) {
			return true // persistent connections would lead past the page
		}
	case Booting, Staged, Gone:
	}
	return in.gen.mixed && in.proc.Hook || in.leaving || in.state == InstanceStopping || in.owner.stopping
}

// update makes the flag of an instance say what is so.
func (df *drainFlags) update(in *instance) {
	drain := in.turnedAway()
	if in.flag.path == "" || in.flag.known && in.flag.drain == drain {
		return
	}
	if err := df.set(in.flag.path, drain); err != nil {
		df.log.Error("drain flag", append(in.fields(), zap.Error(err))...)
		in.flag, in.hooked = flag{}, false
		df.owner.journal.dirty = true
		return
	}
	in.flag.drain, in.flag.known = drain, true
}

// updateAll compares, so that a rollback to a warm generation, a revert and an adoption need
// nothing of their own.
func (df *drainFlags) updateAll() {
	for _, g := range ordered(df.owner.generations) {
		for _, in := range g.instances {
			df.update(in)
		}
	}
}

// drop removes the flag of an instance that has no worker any more.
func (df *drainFlags) drop(in *instance) {
	if in.flag.path == "" {
		return
	}
	if err := drainhook.Remove(in.flag.path); err != nil {
		df.log.Error("remove drain flag", append(in.fields(), zap.Error(err))...)
	}
	in.flag = flag{}
}

// removeUnused removes the flags that no worker of an earlier daemon looks at any more.
func (df *drainFlags) removeUnused() {
	if !df.installed {
		return
	}
	used := make(map[string]bool)
	for _, g := range df.owner.generations {
		for _, in := range g.instances {
			used[in.flag.path] = true
		}
	}
	left, err := filepath.Glob(filepath.Join(df.opt.Hook, "g*"))
	for _, path := range left {
		if !requests.Owns(path) && !used[drainhook.Flag(path)] {
			err = errors.Join(err, drainhook.Remove(path))
		}
	}
	if err != nil {
		df.log.Error("remove old drain flags", zap.Error(err))
	}
}

// remove leaves nothing behind when the last worker is gone.
func (df *drainFlags) remove() {
	if !df.installed {
		return
	}
	if err := os.RemoveAll(df.opt.Hook); err != nil {
		df.log.Error("remove the drain hook", zap.Error(err))
	}
}

// findHook notes that an instance has the hook when its worker has the flag open. It is asked for
// when that is to be known, and until it is true: the hook is there before the server is ready, and
// stays for as long as the worker lives.
func (df *drainFlags) findHook(in *instance) {
	if in.flag.path == "" || in.hooked || in.w == nil {
		return
	}
	held, err := df.os.held(in.flag.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		df.log.Error("find out whether the drain hook is loaded", append(in.fields(), zap.Error(err))...)
	}
	if held {
		df.hookLoaded(in)
	}
}

// hookLoaded notes that a server of the worker has the hook, or that its program looks at the flag
// by itself.
func (df *drainFlags) hookLoaded(in *instance) {
	if in.flag.path != "" && !in.hooked {
		in.hooked, df.owner.journal.dirty = true, true
	}
}

// withoutHook is what follows when a server has not loaded the hook, and what may be the cause.
const withoutHook = "the server has not loaded the drain hook: requests on persistent connections may be lost when it is replaced; " +
	"python -I, -E and -S, and wrappers that load a sitecustomize of their own (opentelemetry-instrument), keep it out"

// lacksHook reports whether a worker serves without the hook that it should have.
func (in *instance) lacksHook() bool { return in.proc.Hook && in.flag.path != "" && !in.hooked }

// warnWithoutHook writes into the log that a worker serves without the hook.
func (df *drainFlags) warnWithoutHook(in *instance) {
	df.findHook(in)
	if in.lacksHook() {
		df.log.Warn(withoutHook, in.fields()...)
	}
}

// hookless is the processes of the live generation that serve without the hook, for status. It
// makes nothing of the app's health.
func (df *drainFlags) hookless() (list []Trouble) {
	if df.owner.live == nil {
		return nil
	}
	for _, in := range df.owner.live.instances {
		of := "process " + in.proc.Name
		df.findHook(in)
		if in.state == InstanceReady && in.lacksHook() &&
			!slices.ContainsFunc(list, func(t Trouble) bool { return t.Of == of }) {
			list = append(list, Trouble{Of: of, Since: in.since, Why: withoutHook})
		}
	}
	return list
}

// keepAlive is for how long a worker may get rid of its connections: one that has the hook or one
// of its own, or a server that does without.
func (in *instance) keepAlive() time.Duration {
	if (in.proc.Hook || in.proc.Flag) && !in.hooked {
		return 0
	}
	return in.proc.HookWait
}
