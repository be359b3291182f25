// Package daemon runs one app. It joins the packages that do not import each other: it reads the
// config, turns a request into a plan (a release with its commands, environment and credentials),
// gives the supervisor its gates, hands everything to the next daemon in an upgrade, and talks to
// systemd.
//
// Run returns only when everything that it started has ended or belongs to another daemon. Only one
// daemon of an app runs at a time: it holds the lock of the state directory. The package makes no
// decisions about workers, listeners and releases; supervisor, socket and releases do.
//
// Some functions let commands see the app as the daemon does: CommandOf, EnvironmentOf, FindDetours
// and CheckCredentials for check and exec, Try for `check RELEASE`, End and DryRun for the commands
// of these names.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/daemon/credentials"
	"superctl/daemon/handover"
	"superctl/daemon/systemd"
	"superctl/notify"
	"superctl/releases"
	"superctl/socket"
	"superctl/supervisor"
	"superctl/supervisor/cgroup"
	"superctl/supervisor/worker"
	"superctl/version"
)

// askTime limits how long the daemon waits for an answer of systemd or of another daemon.
const askTime = 2 * time.Second

// daemon is `superctl daemon`.
type daemon struct {
	config    *config.Config
	log       *zap.Logger
	out       *logs
	lock      *stateLock
	keptKinds string // message for status: gates that keep the kind of the previous config
	complaint note   // the config is invalid, or cannot be kept
	restart   note   // changed keys that need a restart of the daemon
	kept      *descriptors
	groups    *cgroup.Tree // nil if no control group is delegated
	upgrader  *handover.Upgrader
	team      *notify.Sender
	assets    *publisher
	secrets   secretSource
	unsteered []api.Trouble      // listeners whose connections superctl cannot steer
	fault     func(point string) // nil except in tests
	s         *supervisor.Supervisor
	api       *control.Server
}

// Run runs the daemon of the app with the config at path. It returns when everything that it
// started has ended or belongs to another daemon.
func Run(path string, stderr io.Writer) error {
	upgrader, err := handover.New()
	if err != nil {
		return err
	}
	d := &daemon{upgrader: upgrader, fault: faults()}
	defer func() {
		if d.out != nil {
			_ = d.out.Close() // there is no other place to report the error
		}
	}()
	if err := d.open(path, stderr); err != nil {
		return err
	}
	server, err := d.listen()
	if err != nil {
		return err
	}
	d.api = server
	limitGarbage()
	return d.run()
}

// open prepares everything except the control socket. It starts nothing.
func (d *daemon) open(path string, stderr io.Writer) error {
	if err := worker.CheckSignals(); err != nil {
		return err
	}
	inherited, err := socket.Inherit()
	if err != nil {
		return err
	}
	d.kept = &descriptors{handed: d.upgrader, stored: inherited}
	c, broken := loadOrKept(path)
	if c == nil {
		return broken
	}
	d.config = c
	d.kept.paths = map[string]string{controlName: c.Control, notifyName: notifyPath(c)}
	if _, err := c.OpenStore(); err != nil && broken == nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if d.lock, err = d.takeLock(); err != nil {
		return err
	}
	if d.out, err = openLogs(c.App, c.Log, stderr); err != nil {
		return err
	}
	d.log = d.out.logger()
	d.checkConfig(path, broken)
	if d.groups, err = enterGroup(); err != nil {
		return err
	}
	d.team = newTeam(c, d.log)
	gates, err := d.openGates()
	if err != nil {
		return err
	}
	d.s = supervisor.New(d.options(path, gates))
	return nil
}

// openGates makes the gates of the config. Those that cannot change yet keep their kind.
func (d *daemon) openGates() ([]supervisor.Gate, error) {
	sockets := d.kept.sockets()
	gates, err := makeGates(d.config, sockets, EarlierDaemons(d.config.App))
	if err != nil {
		return nil, err
	}
	if d.keptKinds, err = keepKinds(gates, d.config, sockets); err != nil {
		return nil, err
	}
	if d.keptKinds != "" {
		d.log.Warn(d.keptKinds)
	}
	d.unsteered = unsteered(d.config, gates)
	for _, t := range d.unsteered {
		d.log.Warn(t.Of + ": " + t.Why)
	}
	return gates, nil
}

// enterGroup finds the delegated control group and moves the daemon into a subgroup, so that the
// group can hold the workers' groups. It returns nil if no group is delegated.
func enterGroup() (*cgroup.Tree, error) {
	tree, err := cgroup.Find()
	if errors.Is(err, cgroup.ErrNotDelegated) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return tree, tree.Enter()
}

// StateRoom is the number of bytes that must be free in the state directory: for a new state file,
// which is written before the old one is removed, and for the history.
const StateRoom = 64 << 10

// planner returns the planner of changes, which reads the config at path for each.
func (d *daemon) planner(path string) *planner {
	used := func() ([]supervisor.Plan, error) { return d.s.Plans() }
	return &planner{
		path: path, running: d.config, read: d.readConfig,
		credentials: credentialSource{dir: os.Getenv(credentials.Variable), log: d.log, used: used},
		secrets:     &d.secrets,
	}
}

// options returns the supervisor's options, which connect it with the other packages.
func (d *daemon) options(path string, gates []supervisor.Gate) supervisor.Options {
	c := d.config
	d.secrets.keeps, d.secrets.log = true, d.log
	plans := d.planner(path)
	plans.mayStart = func() error { return checkReplaced(c.App, gates) }
	disk := onDisk{config: c, store: c.Store()}
	history := releases.History{Path: c.HistoryPath()}
	d.assets = &publisher{app: c.App, state: c.State, owner: OwnerOf(c), store: disk.store, log: d.log}
	opt := supervisor.Options{
		Complaint: d.complaint.text,
		App:       c.App, Version: version.String(), State: c.State, Notify: notifyPath(c), Hook: hookDir(c),
		Scratch: scratchDir(c),
		Values:  plans.values(),
		Gates:   gates, Unused: unusedListeners(c), Resolve: plans.resolve, Freeze: d.freeze,
		Inspect: inspectMigrations, Packages: packagesOf(c),
		Share:   func(plan supervisor.Plan, inUse bool) (string, error) { return shareInto(plan, OwnerOf(c), inUse) },
		Page:    d.maintenancePage,
		Publish: d.assets.publish, Refresh: d.assets.refresh,
		Look:  newLooker(c).look,
		Point: disk.point, Moved: disk.moved, Broken: disk.broken, NoWayBack: disk.noWayBack, Replaced: disk.replaced, Watch: disk.watch,
		Room:   func() error { return releases.Room(c.State, StateRoom) },
		Record: func(o api.Outcome) error { return history.Append(o) },
		Tell:   d.team.Tell, Troubles: d.troubles, NotInForce: d.notInForce,
		Host: hostName(), Config: c.Path,
		Say:  func(text string) { d.notifySystemd("STATUS=" + text) },
		Sink: d.out.sink(), Fault: d.fault, Log: d.log,
		Cgroups: d.groups, Inherited: d.kept.take, Handed: d.kept.names(), Former: formerGate(c, d.kept),
		Extra: []supervisor.Descriptor{{Name: controlName, ID: c.Control, Use: d.useControl}},
	}
	if store := systemd.OpenStore(); store != nil {
		opt.Store, opt.Stored = store, d.kept.names()
	}
	if every := systemd.WatchdogInterval(); every > 0 {
		opt.Beat, opt.BeatEvery = func() { d.notifySystemd("WATCHDOG=1") }, every
	}
	if os.Getpid() != 1 { // an upgrade ends this process, and the end of process 1 ends the container
		opt.Renew = supervisor.Renew{Check: d.checkNew(path), HandOver: d.handOver}
	}
	return opt
}

// troubles returns what does not work around the app, for status.
func (d *daemon) troubles() []api.Trouble {
	return slices.Concat(d.team.Troubles(), d.assets.troubles(), d.secrets.troubles(), d.unsteered)
}

// listen opens the control socket, or takes over that of the previous daemon.
func (d *daemon) listen() (*control.Server, error) {
	c := controller{d.s, d.config.App, d.team, newChangeTotals(releases.History{Path: d.config.HistoryPath()})}
	if fd, ok := d.kept.take(controlName); ok {
		server, err := control.Inherit(fd, d.config.Control, controlGroup(d.config), c)
		if !errors.Is(err, control.ErrElsewhere) {
			return server, err
		}
	}
	server, err := control.Listen(d.config.Control, controlGroup(d.config), c)
	if err != nil {
		return nil, unwritable(err, "control", "RUNTIME_DIRECTORY")
	}
	return server, nil
}

func (d *daemon) useControl(f func(fd int) error) error {
	if d.api == nil {
		return errors.New("the control socket is not open yet")
	}
	return d.api.Descriptor(f)
}

// controlGroup returns the group that may use the control socket: the group of the app's user, else
// that in the config, else -1.
func controlGroup(c *config.Config) int {
	if c.User != nil {
		return int(c.User.Credential.GID)
	}
	if gid, err := config.GroupNamed(c.Group); err == nil {
		return gid
	}
	return -1
}

// InUse reports whether an error of a listener's address says that another process uses it.
func InUse(err error) bool {
	var used *socket.InUseError
	return errors.As(err, &used)
}

// ListenerOn returns an error that names the process which listens on an address of a listener, or nil if there
// is none.
func ListenerOn(address string) error {
	at, err := socket.ParseAddress(address)
	if err != nil {
		return nil //nolint:nilerr // not one of a listener, such as a host name
	}
	return at.Probe(nil)
}

// EarlierDaemons returns a function that reports whether an earlier daemon of the app started a
// process.
func EarlierDaemons(app string) func(pid int) bool {
	return func(pid int) bool { return worker.BelongsTo(pid, app) }
}
