// Package daemon is one running app: it joins the packages that do not know each other. It reads the config, turns a
// request into a plan (a release with its commands, environment and credentials), gives the supervisor its gates, hands
// everything to the next daemon in an upgrade, and talks to systemd.
//
// Run returns only when everything that it has started has ended, or another daemon has it. Only one daemon of an app runs
// at a time: it holds the lock of the state directory. What the supervisor, the listeners and the releases do by themselves
// is decided there and not here; commands and what they print are in cli.
//
// Beside Run, cli uses what a command must see as the daemon would: CommandOf, EnvironmentOf, FindDetours and
// CheckCredentials for check and exec, Try for `check RELEASE`, End and DryRun for the commands of those names.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// Run is the daemon of the app with the config at path. It returns when everything that it started has ended, or when another daemon has it.
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
	d.s = supervisor.New(d.options(path, gates))
	return nil
}

// enterGroup finds the control group that systemd has delegated, and leaves it to the workers' groups. nil: there is none.
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

// options joins the packages.
func (d *daemon) options(path string, gates []supervisor.Gate) supervisor.Options {
	c := d.config
	plans := &planner{path: path, running: c, read: d.readConfig, credentials: credentialSource{
		dir: os.Getenv(credentials.Variable), log: d.log, used: func() ([]supervisor.Plan, error) { return d.s.Plans() },
	}}
	store := c.Store()
	history := releases.History{Path: c.HistoryPath()}
	opt := supervisor.Options{
		Complaint: d.complaint,
		App:       c.App, Version: Version(), State: c.State, Notify: notifyPath(c), Hook: hookDir(c), Scratch: scratchDir(c),
		Values: supervisor.Values{Dir: valuesDir(c), Read: plans.readValues},
		Gates:  gates, Unused: unusedListeners(c), Resolve: plans.resolve, Freeze: store.Freeze, Inspect: inspectMigrations,
		Share:  func(plan supervisor.Plan, inUse bool) (string, error) { return shareInto(plan, OwnerOf(c), inUse) },
		Look:   newLooker(c).look,
		Point:  func(r supervisor.Release) error { return errors.Join(store.Point(r.Path), releases.Gone(r.Path)) },
		Moved:  func(r supervisor.Release) string { return store.Moved(r.Path) },
		Broken: func(r supervisor.Release) error { return broken(c, store, r.Path) },
		Record: func(o api.Outcome) error { return history.Append(o) },
		Tell:   d.team.Tell, Troubles: d.team.Troubles, NotInForce: d.notInForce,
		Say:  func(text string) { d.tell("STATUS=" + text) },
		Sink: d.out.sink(), Fault: d.fault, Log: d.log,
		Cgroups: d.groups, Inherited: d.kept.take, Handed: d.kept.names(), Former: formerGate(c, d.kept), Extra: []supervisor.Descriptor{{Name: controlName, ID: c.Control, Use: d.useControl}},
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

// readConfig takes what a change has just read.
func (d *daemon) readConfig(c *config.Config) {
	d.team.Configure(c.Notify)
	text := needsRestart(d.config, c)
	d.restart.Store(&text)
}

// needsRestart says what of a config only another daemon takes up; "" for nothing.
func needsRestart(running, c *config.Config) string {
	var keys []string
	for _, k := range []struct{ name, is, now string }{
		{"log", running.Log, c.Log}, {"control", running.Control, c.Control}, {"state", running.State, c.State}, {"group", running.Group, c.Group},
	} {
		if k.is != k.now {
			keys = append(keys, fmt.Sprintf("%s = %q (it runs with %q)", k.name, k.now, k.is))
		}
	}
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf("%s needs a restart of the daemon, which loses no request: systemctl restart superctl@%s", strings.Join(keys, ", "), running.App)
}

// notInForce says what of the config file is not in force, when the live generation was made from the text with that sum.
func (d *daemon) notInForce(sum string) string {
	var texts []string
	if now, err := config.Sum(d.config.Path); err == nil && sum != "" && now != sum {
		texts = append(texts, d.config.Path+" is not what the live release runs with: superctl reload takes it up")
	}
	if text := d.restart.Load(); text != nil && *text != "" {
		texts = append(texts, *text)
	}
	return strings.Join(texts, "; ")
}

// unusedListeners names those that no process of the config accepts from.
func unusedListeners(c *config.Config) (names []string) {
	for _, l := range c.Listen {
		if !slices.ContainsFunc(c.Processes, func(p config.Process) bool { return slices.Contains(p.Listen, l.Name) }) {
			names = append(names, l.Name)
		}
	}
	return names
}

// listen opens the control socket, or goes on with the one of the daemon before.
func (d *daemon) listen() (*control.Server, error) {
	if fd, ok := d.kept.take(controlName); ok {
		server, err := control.Inherit(fd, d.config.Control, d.s)
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

// notifyPath is where the socket is on which workers say READY=1.
func notifyPath(c *config.Config) string {
	return filepath.Join(filepath.Dir(c.Control), c.App+".notify")
}

// controlGroup is the group that may use the control socket: the config's, else that of the app's user.
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

// tell tells systemd, if it listens.
func (d *daemon) tell(state string) {
	if err := systemd.Notify(state); err != nil {
		d.log.Warn("notify systemd", zap.Error(err))
	}
}

// run runs everything until a signal ends it. The first part to end stops all, and all are waited for; but a daemon that
// leaves its workers to the next one waits for nothing that goes on.
func (d *daemon) run() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	telling, stopTelling := context.WithCancel(context.Background())
	var teller sync.WaitGroup
	teller.Go(func() { d.tellTeam(telling) })
	defer teller.Wait()
	defer stopTelling()
	var parts sync.WaitGroup
	if os.Getpid() == 1 || d.groups == nil {
		if err := worker.AdoptOrphans(); err != nil {
			return err
		}
		parts.Go(func() { worker.ReapOrphans(serving) })
	} else if err := worker.KnowChildren(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	served := make(chan error, 1)
	go func() { ended <- d.s.Run(ctx) }()
	go func() { served <- d.api.Serve(serving) }()
	adopted, started := d.s.Adopted(), d.s.Started()
	for stopping := false; ; {
		select {
		case <-adopted:
			adopted = nil
			if err := d.takeCharge(); err != nil {
				return err
			}
		case <-started:
			started = nil
			d.tell("READY=1")
			d.log.Info("superctl is ready", zap.Int("pid", os.Getpid()), zap.String("version", Version()))
		case sig := <-signals:
			if sig != syscall.SIGTERM && sig != syscall.SIGINT {
				parts.Go(func() { d.obey(sig) })
				continue
			}
			if stopping {
				d.log.Warn("asked to stop a second time: what still runs is killed")
				parts.Go(d.s.Hurry)
				continue
			}
			stopping = true
			d.tell("STOPPING=1")
			parts.Go(func() { d.end(sig, stop) })
		case err := <-served:
			stop()
			return errors.Join(err, <-ended)
		case err := <-ended:
			if d.s.Left() {
				d.api.LeaveToNext()
			}
			stopServing() // to the last, so that status can tell how the end goes
			err = errors.Join(err, <-served)
			if !d.s.Left() {
				parts.Wait()
				err = errors.Join(err, worker.EndOrphans(), copiesOf(d.config).Remove())
			}
			return err
		}
	}
}

// takeCharge is the moment from which on the daemon before this one, if it is there, is not needed any more.
func (d *daemon) takeCharge() error {
	if d.fault != nil {
		d.fault("recover: before take charge")
		defer d.fault("recover: after take charge")
	}
	if err := d.kept.close(); err != nil {
		d.log.Error("close what an earlier daemon has left", zap.Error(err))
	}
	if d.renewal.HasParent() {
		// Before that daemon ends: systemd would take its end for the end of the service (NotifyAccess=all).
		d.tell("MAINPID=" + strconv.Itoa(os.Getpid()) + "\nREADY=1")
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		if err := systemd.Barrier(ctx); err != nil {
			d.log.Warn("tell systemd that this is the main process now", zap.Error(err))
		}
	}
	return d.renewal.Ready()
}

// obey does what a signal asks for, beside the main loop.
func (d *daemon) obey(sig os.Signal) {
	req := api.Request{Kind: api.Reload, Who: "SIGHUP"}
	switch sig {
	case syscall.SIGUSR1:
		if err := d.out.Reopen(); err != nil {
			d.log.Error("reopen the log", zap.Error(err))
		}
		return
	case syscall.SIGUSR2:
		req = api.Request{Kind: api.Upgrade, Who: "SIGUSR2"}
	}
	out, err := d.s.Change(context.Background(), req, func(api.Event) {})
	switch {
	case err != nil:
		d.log.Error(string(req.Kind)+" refused", zap.Error(err))
	case out.Result != api.Done:
		d.log.Error(string(req.Kind)+" failed", zap.String("outcome", string(out.Result)), zap.String("error", out.Error), zap.Strings("log", out.Log))
	}
}

// end ends everything, or leaves it to the daemon that systemd is about to start.
func (d *daemon) end(sig os.Signal, stop func()) {
	intent := systemd.Stop
	if sig == syscall.SIGTERM {
		intent = systemd.AwaitIntent(context.Background())
	}
	if intent == systemd.Unknown {
		d.log.Warn("systemd does not say whether this is a stop or a restart: the workers go on; superctl end stops them")
		intent = systemd.Restart
	}
	if intent == systemd.Restart {
		d.log.Info("leaving: the workers go on, for the next daemon", zap.Stringer("signal", sig))
		d.s.Leave()
		return
	}
	d.log.Info("stopping: the workers finish what they have", zap.Stringer("signal", sig))
	stop()
}
