package supervisor

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"superctl/redact"
	"superctl/supervisor/cgroup"
	"superctl/supervisor/health"
	"superctl/supervisor/worker"
)

// Plan is all that a generation runs: one release and one reading of the config, frozen. Whatever
// dies and is started again is started from the generation's plan, never from what has since landed
// on disk (DESIGN 1, promise 3). It is kept in the state file.
type Plan struct {
	Release   Release   `json:"release"`
	Processes []Process `json:"processes"`
	// Page says that it shows a maintenance page, and is no release of the app.
	Page bool `json:"page,omitempty"`

	// Config identifies the text of the config that it was made from; "" = unknown. Status compares
	// it with the file as it is now.
	Config string `json:"config,omitempty"`

	// how long the new generation must stay healthy before the old one is let go
	Probation time.Duration `json:"probation"`
	Standby   time.Duration `json:"standby"` // how long the old one is kept warm after that; 0 = not at all
	Settle    time.Duration `json:"settle"`  // the limit of the wait after a cutover
	Hooks     Hooks         `json:"hooks"`

	// commands that run at certain times, in the environment of the hooks
	Cron []Cron `json:"cron,omitempty"`

	// paths in the release, and the path outside that each is a link to
	Shared map[string]string `json:"shared,omitempty"`

	// directories of static files that all releases publish in one place
	Assets []Assets `json:"assets,omitempty"`

	// path of the file in memory that has the values of the variables
	Values   string           `json:"values,omitempty"`
	Warnings []string         `json:"-"` // for the client of the change
	redactor *redact.Redactor // of the values; nil: none are known

	// what Options.Inspect needs to know; none = there is nothing to inspect
	Inspect json.RawMessage `json:"inspect,omitempty"`

	// Check looks at what takes too long to look at before every boot, such as whether the
	// release's interpreter runs. It runs side by side with the boot, and its error refuses the
	// release. nil = there is nothing to look at.
	Check func(context.Context) error `json:"-"`
}

// Assets is a directory of static files in a release, and where those of all releases are.
type Assets struct {
	Name string        `json:"name"`
	From string        `json:"from"` // path inside the release
	To   string        `json:"to"`
	Keep time.Duration `json:"keep"` // how long a file stays after the last release that has it
}

// Release names a directory of application code. The supervisor never looks inside.
type Release struct {
	Name   string `json:"name"`
	Path   string `json:"path"`             // real path, symlinks resolved
	Commit string `json:"commit,omitempty"` // as the release itself records it; "" when unknown
	// what tells the directory from another one that takes its place; "" = unknown
	Directory string `json:"directory,omitempty"`
}

// Process is a kind of program that the app runs, as in a Procfile.
type Process struct {
	Name string `json:"name"`
	// the server that the command runs, for people; "" = unknown
	Server string `json:"server,omitempty"`
	// argv; {fd.NAME} and {addr.NAME} are replaced at the start of a worker
	Command []string `json:"command"`
	// built (DESIGN 5), without what differs from worker to worker; not in the state file
	Env []string `json:"env,omitempty"`
	// variables with placeholders for what differs (worker.Expand); likewise
	Templates   []string           `json:"templates,omitempty"`
	Secrets     worker.Secrets     `json:"secrets,omitempty"`  // variables whose values are never in the state file
	EnvFrom     map[string]string  `json:"env_from,omitempty"` // where each variable of Env is from, for people
	Dir         string             `json:"dir"`
	User        *worker.Credential `json:"user,omitempty"` // nil = the daemon's own
	Listen      []string           `json:"listen,omitempty"`
	ExtraListen []string           `json:"extra_listen,omitempty"` // other addresses on which it may listen
	// the command names its descriptors; LISTEN_FDS would confuse it
	HideListen bool `json:"hide_listen,omitempty"`
	// of a process without listeners: those that must be ready before it starts
	After     []string      `json:"after,omitempty"`
	Instances int           `json:"instances"`
	Strategy  Strategy      `json:"strategy"`
	Hold      time.Duration `json:"hold,omitempty"`      // strategy hold: for how long connections may wait
	HoldPage  bool          `json:"hold_page,omitempty"` // after that, new ones get the maintenance page
	// strategy rolling: how many instances are replaced at a time
	Surge        int           `json:"surge,omitempty"`
	StopSignal   int           `json:"stop_signal"` // to the main process only
	Drain        time.Duration `json:"drain"`       // from the stop signal to SIGKILL
	Notify       bool          `json:"notify"`      // ready only after READY=1
	StartTimeout time.Duration `json:"start_timeout"`
	// for a process that has neither READY=1 nor a listener
	ReadyAfter time.Duration  `json:"ready_after"`
	Health     *health.Policy `json:"health,omitempty"` // nil = it is not asked
	Guard      *Guard         `json:"guard,omitempty"`  // nil = its requests are not judged
	NoFile     uint64         `json:"nofile,omitempty"` // RLIMIT_NOFILE; 0 = the daemon's own
	// bytes, of each worker with all that it starts; 0 = no limit
	MemoryMax uint64 `json:"memory_max,omitempty"`
	// of each worker, 1 to 10,000; 0 = 100, as everybody's
	CPUWeight uint64 `json:"cpu_weight,omitempty"`
	// when its workers are replaced although they serve; nil = never
	Recycle *Recycle `json:"recycle,omitempty"`

	// Hook says that its workers load the drain hook, and HookWait for how long one that gets no
	// new connections any more may get rid of its connections before its stop signal, where
	// DrainConnections says nothing. With Hook that is one that has loaded it.
	Hook     bool          `json:"hook,omitempty"`
	HookWait time.Duration `json:"hook_wait,omitempty"`

	// Flag says that its workers are told that they drain, and nothing is loaded into them: a
	// program that looks at the flag, and says so, is waited for like one with the hook.
	Flag bool `json:"flag,omitempty"`
	// Counts says that its workers load the module of the drain hook only to count their requests.
	Counts bool `json:"counts,omitempty"`

	// DrainConnections is for how long a worker that gets no new connections any more may keep
	// those that it has, before its stop signal; 0 = not at all.
	DrainConnections time.Duration `json:"drain_connections,omitempty"`

	// AnswerWait is how long the stop signal of a worker that gets no new connections any more, and
	// does not wait for those that it has, waits until each of them has had an answer; 0 = not at all.
	AnswerWait time.Duration `json:"answer_wait,omitempty"`
}

// listeners are the names of all listeners of a plan.
func (p *Plan) listeners() []string {
	var names []string
	for i := range p.Processes {
		names = append(names, p.Processes[i].Listen...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *Process) limits() cgroup.Limits {
	return cgroup.Limits{MemoryMax: p.MemoryMax, CPUWeight: p.CPUWeight}
}

// Hooks are commands that run around a switch in the new release's directory and environment.
type Hooks struct {
	Before   [][]string `json:"before,omitempty"`
	After    [][]string `json:"after,omitempty"`
	OnAbort  [][]string `json:"on_abort,omitempty"`
	OnRevert [][]string `json:"on_revert,omitempty"`
	// positions of the commands that a follower leaves out, by the name of the list, as of its step
	Once    map[string][]int   `json:"once,omitempty"`
	Env     []string           `json:"env,omitempty"` // not in the state file
	Secrets worker.Secrets     `json:"secrets,omitempty"`
	Dir     string             `json:"dir,omitempty"`
	User    *worker.Credential `json:"user,omitempty"`
	Timeout time.Duration      `json:"timeout,omitempty"` // of each command

	BeforeRollback bool `json:"before_rollback,omitempty"` // Before is for rollbacks too
}

// hold is how long connections may wait while no worker serves; 0 = the plan's processes may run
// next to those of another release.
func (p *Plan) hold() (limit time.Duration) {
	for i := range p.Processes {
		if p.Processes[i].Strategy == Hold {
			limit = max(limit, p.Processes[i].Hold)
		}
	}
	return limit
}

// holdPage reports whether new connections get the maintenance page while others are held for too long.
func (p *Plan) holdPage() bool {
	return slices.ContainsFunc(p.Processes, func(p Process) bool { return p.Strategy == Hold && p.HoldPage })
}

// rolls reports whether the processes with listeners are to be replaced a few at a time.
func (p *Plan) rolls() bool {
	return slices.ContainsFunc(p.Processes, func(p Process) bool { return p.Strategy == Rolling && len(p.Listen) > 0 })
}

func (p *Plan) process(name string) *Process {
	for i := range p.Processes {
		if p.Processes[i].Name == name {
			return &p.Processes[i]
		}
	}
	return nil
}

func processNames(p Plan) []string {
	names := make([]string, len(p.Processes))
	for i := range p.Processes {
		names[i] = p.Processes[i].Name
	}
	return names
}
