// Package daemon is one running app: it joins the packages that do not know each other. It reads
// the config, turns a request into a plan (a release with its commands, environment and
// credentials), gives the supervisor its gates, hands everything to the next daemon in an upgrade,
// and talks to systemd.
//
// Run returns only when everything that it has started has ended, or another daemon has it. Only
// one daemon of an app runs at a time: it holds the lock of the state directory. What the
// supervisor, the listeners and the releases do by themselves is decided there and not here;
// commands and what they print are in cli.
//
// Beside Run, cli uses what a command must see as the daemon would: CommandOf, EnvironmentOf,
// FindDetours and CheckCredentials for check and exec, Try for `check RELEASE`, End and DryRun for
// the commands of those names.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"sync/atomic"
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
)

// askTime is how long systemd and a daemon that leaves may take for their last words.
const askTime = 2 * time.Second

// daemon is `superctl daemon`: it joins all packages.
type daemon struct {
	config    *config.Config
	log       *zap.Logger
	out       *logs
	lock      *stateLock
	keptKinds string                 // of gates that the config has changed, for status
	complaint string                 // about the config, for status
	restart   atomic.Pointer[string] // what of the config that was read last only another daemon takes up
	kept      *descriptors
	groups    *cgroup.Tree // nil where none is delegated
	renewal   *handover.Upgrader
	team      *notify.Sender
	fault     func(point string) // nil but in tests
	s         *supervisor.Supervisor
	api       *control.Server
}

// Run is the daemon of the app with the config at path. It returns when everything that it started
// has ended, or when another daemon has it.
func Run(path string, stderr io.Writer) error {
	renewal, err := handover.New()
	if err != nil {
		return err
	}
	d := &daemon{renewal: renewal, fault: faults()}
	defer func() {
		if d.out != nil {
			_ = d.out.Close() // what could not be written cannot be said either
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
	return d.run()
}

// open makes everything but the control socket; nothing is started yet.
func (d *daemon) open(path string, stderr io.Writer) error {
	inherited, err := socket.Inherit()
	if err != nil {
		return err
	}
	d.kept = &descriptors{handed: d.renewal, stored: inherited}
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
	if broken != nil {
		d.complaint = "the config cannot be read, and the one that was read last is used: " + broken.Error()
		d.log.Error(d.complaint)
	} else if err := keep(c); err != nil {
		// A full disk is no reason for a site to be without its daemon.
		d.complaint = err.Error()
		d.log.Error(d.complaint)
	}
	for _, w := range c.Warnings {
		d.log.Warn(w, zap.String("config", path))
	}
	if d.groups, err = enterGroup(); err != nil {
		return err
	}
	d.team = newTeam(c, d.log)
	sockets := d.kept.sockets()
	gates, err := makeGates(c, sockets, EarlierDaemons(c.App))
	if err != nil {
		return err
	}
	if d.keptKinds, err = keepKinds(gates, c, sockets); err != nil {
		return err
	}
	if d.keptKinds != "" {
		d.log.Warn(d.keptKinds)
	}
	d.s = supervisor.New(d.options(path, gates))
	return nil
}

// enterGroup finds the control group that systemd has delegated, and leaves it to the workers'
// groups. nil: there is none.
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

// StateRoom is how many bytes must be free where the state is kept: for the next state file, which
// is written beside the one before, and for the history.
const StateRoom = 64 << 10

// options joins the packages.
func (d *daemon) options(path string, gates []supervisor.Gate) supervisor.Options {
	c := d.config
	plans := &planner{path: path, running: c, read: d.readConfig, credentials: credentialSource{
		dir: os.Getenv(credentials.Variable), log: d.log, used: func() (
			[]supervisor.Plan, error,
		) {
			return d.s.Plans()
		},
	}}
	store := c.Store()
	history := releases.History{Path: c.HistoryPath()}
	opt := supervisor.Options{
		Complaint: d.complaint,
		App:       c.App, Version: Version(), State: c.State, Notify: notifyPath(c), Hook: hookDir(c),
		Scratch: scratchDir(c),
		Values:  supervisor.Values{Dir: valuesDir(c), Read: plans.readValues},
		Gates:   gates, Unused: unusedListeners(c), Resolve: plans.resolve, Freeze: store.Freeze,
		Inspect: inspectMigrations,
		Share:   func(plan supervisor.Plan, inUse bool) (string, error) { return shareInto(plan, OwnerOf(c), inUse) },
		Look:    newLooker(c).look,
		Point:   func(r supervisor.Release) error { return errors.Join(store.Point(r.Path), releases.Gone(r.Path)) },
		Moved:   func(r supervisor.Release) string { return store.Moved(r.Path) },
		Broken:  func(r supervisor.Release) error { return broken(c, store, r.Path) },
		Watch: func(ctx context.Context, r supervisor.Release, changed func()) error {
			return store.Watch(ctx, r.Path, changed)
		},
		Room:   func() error { return releases.Room(c.State, StateRoom) },
		Record: func(o api.Outcome) error { return history.Append(o) },
		Tell:   d.team.Tell, Troubles: d.team.Troubles, NotInForce: d.notInForce,
		Say:  func(text string) { d.tell("STATUS=" + text) },
		Sink: d.out.sink(), Fault: d.fault, Log: d.log,
		Cgroups: d.groups, Inherited: d.kept.take, Handed: d.kept.names(), Former: formerGate(c, d.kept),
		Extra: []supervisor.Descriptor{{Name: controlName, ID: c.Control, Use: d.useControl}},
	}
	if store := systemd.OpenStore(); store != nil {
		opt.Store, opt.Stored = store, d.kept.names()
	}
	if every := systemd.WatchdogInterval(); every > 0 {
		opt.Beat, opt.BeatEvery = func() { d.tell("WATCHDOG=1") }, every
	}
	if os.Getpid() != 1 { // the end of process 1 is the end of all
		opt.Renew = supervisor.Renew{Check: d.checkNew(path), HandOver: d.handOver}
	}
	return opt
}

// listen opens the control socket, or goes on with the one of the daemon before.
func (d *daemon) listen() (*control.Server, error) {
	if fd, ok := d.kept.take(controlName); ok {
		server, err := control.Inherit(fd, d.config.Control, controlGroup(d.config), d.s)
		if !errors.Is(err, control.ErrElsewhere) {
			return server, err
		}
	}
	return control.Listen(d.config.Control, controlGroup(d.config), d.s)
}

func (d *daemon) useControl(f func(fd int) error) error {
	if d.api == nil {
		return errors.New("the control socket is not open yet")
	}
	return d.api.Descriptor(f)
}

// controlGroup is the group that may use the control socket: the config's, else that of the app's
// user.
func controlGroup(c *config.Config) int {
	if c.User != nil {
		return int(c.User.Credential.GID)
	}
	if g, err := user.LookupGroup(c.Group); c.Group != "" && err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			return gid
		}
	}
	return -1
}

// EarlierDaemons tells whether a process was started for this app by a daemon before this one.
func EarlierDaemons(app string) func(pid int) bool {
	return func(pid int) bool { return worker.BelongsTo(pid, app) }
}
