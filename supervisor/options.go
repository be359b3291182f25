package supervisor

import (
	"context"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/supervisor/cgroup"
)

// Options are what a Supervisor is made of.
type Options struct {
	App     string
	Version string
	Host    string // name of the host, for status
	Config  string // path of the config file, for status
	State   string // directory of the state file and of the workers' output pipes
	Hook    string // directory for the drain hook and the workers' flags, which all workers can reach; "" for none
	Scratch string // directory for the generations' scratch directories, which all workers can reach; "" for none
	Values  Values
	Notify  string // path of the socket for READY=1 and STATUS= from workers; "" for none

	Gates []Gate
	// Unused names the listeners that no process of the config accepts from.
	Unused []string
	// Resolve turns a request into a plan: it finds the release, checks it, and reads the config
	// again.
	Resolve func(context.Context, Target) (Plan, error)
	// Freeze keeps every release where it is until thaw is called: until everybody can see which
	// one Resolve has found. nil for none.
	Freeze func(context.Context) (thaw func(), err error)
	// Page makes the process that shows a maintenance page, but for its name, listeners and instances.
	// It keeps the body of the page for the workers that are started later; a nil body is the page that
	// was kept. nil for none.
	Page func(on api.MaintenanceStatus, body []byte) (Process, error)
	// Share links the plan's shared paths into its release, and says what it has made; inUse says
	// that workers run from the release already. nil for none.
	Share func(plan Plan, inUse bool) (detail string, err error)
	// Publish adds the static files of the plan's release to those of the others, and says what it
	// has added. It replaces none. nil for none.
	Publish func(ctx context.Context, plan Plan) (detail string, err error)
	// Refresh gives the static files that several releases have by the same name the content of the
	// plan's release, which is live. What fails, it tries again by itself. nil for none.
	Refresh func(plan Plan) error
	// Inspect has its say on where a switch or a rollback goes, before anything of it is begun; nil
	// for none. What it writes is shown and kept as a hook's output is.
	Inspect func(ctx context.Context, i Inspection, line func(string)) (detail string, err error)
	// Packages returns how the Python packages of two releases differ, or nil if they do not. A dry run
	// says it. nil for never.
	Packages func(from, to Release) (*api.PackageChanges, error)
	// Look looks at what a starting worker runs and listens on, before it may be ready; nil for
	// never. Its error says what of that cannot be, as a sentence that begins with its verb, or is
	// ErrUnseen. It is called by several goroutines at a time.
	Look func(context.Context, Look) error
	// Point makes the `current` link follow the live release; nil for none.
	Point func(Release) error
	// Moved returns where the `current` link leads, when that is not the release; "" when all is
	// well. nil for never.
	Moved func(Release) string
	// Broken says why no worker can be started from a release any more: it was removed, or its
	// interpreter was; nil for never. It is called for status, and only looks at the release's
	// directory.
	Broken func(Release) error
	// NoWayBack says why a rollback cannot go to a release, which may have moved since it was live.
	NoWayBack func(Release) error
	// Replaced reports whether another directory has taken the place of a release's, so that a new
	// worker would run other code than the one that was proved. May be nil.
	Replaced func(Release) bool
	// Watch calls changed whenever a release may have been lost, until ctx ends; nil for never.
	Watch func(ctx context.Context, r Release, changed func()) error
	// Room says why the state directory takes no more files, such as a full disk; nil for never. It
	// is called for status.
	Room func() error
	// Record keeps an outcome in the history; nil for none.
	Record func(Outcome) error
	// Tell is told when a change of the release or the config begins its work (its outcome is ""
	// yet), and once how it has ended, even if this daemon is killed meanwhile: then the next one
	// tells it. One that is killed just after it has told of an end has that told again; Started
	// says that it is the same change. Nil for none. The change waits for it. It is told of the
	// health of the app too (HealthKind), once for each trouble and once when that is over.
	Tell func(Outcome)
	// Say tells systemd how things stand, one line at each change; nil for none.
	Say func(status string)
	// Sink is where every line of a worker goes on to, in addition to what is kept for Logs; nil for
	// nowhere. It may block.
	Sink func(LogLine)
	// Inherited gives the descriptor that an earlier daemon has handed over under that name, by
	// systemd's store or in an upgrade; nil for none.
	Inherited func(name string) (fd int, ok bool)
	// Handed is the names of what Inherited can give.
	Handed []string
	// Former makes the gate of a listener that was in an earlier config: with that address, and of
	// that kind.
	Former func(name, address, kind string) (Gate, error)
	// Stored is the names of what is in Store when this daemon starts.
	Stored []string
	// Store keeps descriptors for the next daemon, in systemd's store; nil for nowhere.
	Store Store
	// Extra is descriptors that the next daemon needs in addition to the supervisor's own.
	Extra []Descriptor
	// Renew is how an upgrade is made; without it there is none.
	Renew Renew
	// Cgroups is where each worker gets a control group of its own; nil where none is delegated.
	Cgroups *cgroup.Tree
	// Beat is called by the owner every BeatEvery, to tell systemd's watchdog that the owner is not
	// stuck; nil for never.
	Beat      func()
	BeatEvery time.Duration
	// Trial ends each switch when its generation has proved itself: the gates do not turn, and its
	// workers are stopped.
	Trial bool
	// End has everything that an earlier daemon has left finish and end; nothing is started.
	End bool
	// Troubles tells what around the app does not work, for status alone; nil for nothing. What
	// concerns the health of the app goes to Report.
	Troubles func() []Trouble
	// NotInForce says what of the config is not in force, when the live generation was made from
	// the one with that Plan.Config; "" for nothing. It is asked for each status; nil for never.
	NotInForce func(config string) string
	// Complaint is what is wrong with the daemon's own surroundings, for status; "" for nothing.
	Complaint func() string
	// Fault is called just before and just after each step of a change, an upgrade and a recovery,
	// with its name; tests end the daemon there.
	Fault func(point string)

	Log *zap.Logger
}

// Values is where the values of variables are while no daemon runs.
type Values struct {
	Dir  string            // in memory; "" for nowhere
	Read func(*Plan) error // reads those of a plan from the config as it is now, when they are not in Dir
	// Unused removes the files of worker.Secrets except those in use; nil for never. It is called while
	// something runs.
	Unused func(used []string) error
	// Live records which secrets and credentials the live release has. It is called after Point; nil = no
	// record is kept.
	Live func(*Plan) error
}

// Target is what Resolve is to find.
type Target struct {
	Kind     Kind
	Word     string   // as the user gave it; "" for a reload, a rollback and a start
	Live     *Release // nil when none is
	Previous *Release // nil when there is none
	DryRun   bool     // nothing may be written, and the config that is read does not come into force
}

// Starting reports whether a daemon starts, rather than an operator asks for a change.
func (t Target) Starting() bool { return t.Kind == start }
