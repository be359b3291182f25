//go:build linux

package movecommand

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/config"
	"superctl/setup"
	"superctl/takeover"
	"superctl/takeover/running"
	"superctl/takeover/system"
)

// Takeover is the command superctl takeover.
func Takeover(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "takeover", Usage: "replace a running gunicorn, uWSGI or uvicorn without losing a request",
		UsageText: "superctl takeover UNIT|PROGRAM|PID [--build] [--apply] [--json]",
		Description: `Replaces a server that something else started, in place: on the same port or unix path. UNIT is a
systemd unit, PROGRAM a program of supervisord, PID any process of the server.

Without --apply it shows what it would do, and changes nothing. With it, as root:

   1. it writes the config and the drop-in, as superctl init --from does, unless the app has a config
   2. it starts the app's daemon; the old server keeps all connections
   3. it switches to the release that current points to: the release is proved first
   4. it stops the old server when its last connection is answered, and disables its unit

With --build it first makes the release: it builds the commit that is checked out in the server's
directory, with its locked dependencies in a virtualenv, as superctl build and install do. If that
fails, nothing is changed.

A server that cannot share its address, such as one with TLS, is replaced on another port: after step
3 nginx's configuration is changed, and nginx reloaded. The plan says why, and shows the changes.

A release that is refused leaves the old server as it was. So does Ctrl-C before the switch. A
takeover that was interrupted later continues when it is run again.

   superctl takeover shop.service
   superctl takeover shop.service --apply
   superctl takeover shop.service --build --apply   from a plain git checkout`,
		Flags: takeoverFlags(),
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 1, 1); err != nil {
				return err
			}
			return c.takeover(cc)
		},
	}
}

func takeoverFlags() []cli.Flag {
	own := []string{"apply", "replace", "name", "user", "base", "address", "command", "health", "json"}
	flags := slices.DeleteFunc(initFlags(), func(f cli.Flag) bool { return !slices.Contains(own, f.Names()[0]) })
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.BoolFlag:
			if f.Name == "apply" {
				f.Usage = "do it (as root)"
			}
		case *cli.StringFlag:
			if f.Name == "address" {
				f.Usage = "listen on `ADDRESS`, and have nginx use it (default: the server's own address if that can be shared)"
			}
		}
	}
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "build", Usage: "first build a release of the git checkout that the server runs from"},
	}, flags...)
}

// takeOver is one run of superctl takeover.
type takeOver struct {
	*setUp
	target  string
	server  *running.Server // nil = it has ended
	manager running.Manager
	why     error               // the server cannot be replaced in place
	move    *takeover.NginxMove // nil = in place
	plan    *setup.Plan         // nil = the app has a config
	dir     string
	found   *setup.Decision

	app       string
	addresses []string
	release   string        // the switch is to it
	build     *releaseBuild // nil = the release is there
	untracked []string      // files of the checkout that are not in the release
}

func (c *command) takeover(cc *cli.Context) error {
	answers, err := answersOf(cc)
	if err != nil {
		return commandline.Usagef("takeover: %w", err)
	}
	machine, err := setup.ThisMachine()
	if err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	answers.InPlace, answers.NoNginx = true, true
	t := &takeOver{
		setUp:  &setUp{command: c, cc: cc, machine: machine, answers: answers},
		target: cc.Args().First(),
	}
	if err := t.decideTakeover(ctx); err != nil {
		var unknown *setup.UnknownError
		if errors.As(err, &unknown) {
			return commandline.Usagef("takeover: %w", err)
		}
		return fmt.Errorf("takeover: %w", err)
	}
	return t.concludeTakeover(ctx)
}

// decideTakeover finds the server, and decides what becomes of it.
func (t *takeOver) decideTakeover(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root, to see the old server's sockets: run it with sudo")
	}
	if err := t.findServer(ctx); err != nil {
		return err
	}
	if err := t.checkServer(); err != nil {
		return err
	}
	if err := t.importServer(); err != nil {
		return err
	}
	if err := t.decideSite(ctx); err != nil {
		return err
	}
	if err := t.decideBuild(ctx); err != nil {
		return err
	}
	if err := t.addressesAndRelease(); err != nil {
		return err
	}
	if t.server == nil {
		return nil
	}
	if t.why == nil {
		t.why = takeover.CheckAddresses(t.server, t.addresses)
	}
	if t.why != nil {
		return t.decideMove(ctx)
	}
	return nil
}

// decideSite decides how the app runs under superctl, and plans the files of an app that has no config
// yet.
func (t *takeOver) decideSite(ctx context.Context) (err error) {
	t.checkout = t.cc.Bool("build") // a release of an earlier try does not matter
	t.answers = t.from.Answers(t.answers)
	t.decideAddress()
	if t.found, t.dir, err = t.decide(ctx); err != nil {
		return err
	}
	t.app = t.found.Site.App
	if _, exists, _ := t.machine.Read(setup.ConfigPath(t.app)); !exists || t.cc.Bool("replace") {
		t.plan, err = setup.NewPlan(t.found.Site, t.machine, rand.Text)
	}
	return err
}

// findServer finds the server. A unit that exists and does not run may have been taken over already.
func (t *takeOver) findServer(ctx context.Context) error {
	server, err := running.Find(ctx, t.target)
	if err == nil {
		t.server, t.manager = server, server.Manager
		return nil
	}
	var none *running.NotFoundError
	if !errors.As(err, &none) || none.Unit == "" {
		return err
	}
	t.manager = running.Manager{Kind: running.Systemd, Unit: none.Unit}
	return nil
}

// importServer reads what the server's manager knows of it or, without one, the process itself.
func (t *takeOver) importServer() error {
	if t.manager.Kind == running.Systemd {
		return t.readFrom([]string{t.manager.Unit})
	}
	from, err := takeover.Import(t.server)
	t.from = from
	return err
}

// addressesAndRelease reads the addresses of the app and the release to switch to.
func (t *takeOver) addressesAndRelease() error {
	site := t.found.Site
	releases, current := site.Releases, site.Current
	for _, l := range site.Listen {
		t.addresses = append(t.addresses, l.Address)
	}
	if t.plan == nil {
		conf, err := config.Load(setup.ConfigPath(t.app))
		if err != nil {
			return err
		}
		releases, current, t.addresses = conf.Releases, conf.Current, nil
		for _, l := range conf.Listen {
			t.addresses = append(t.addresses, l.Address.String())
		}
	}
	if t.build != nil {
		return nil // its name is known when it is installed
	}
	if to, err := filepath.EvalSymlinks(current); err == nil && filepath.Dir(to) == t.machine.Real(releases) {
		t.release = filepath.Base(to)
		return nil
	}
	entries, err := os.ReadDir(releases)
	release := func(e os.DirEntry) bool { return e.IsDir() && !strings.HasPrefix(e.Name(), ".") }
	if err != nil || !slices.ContainsFunc(entries, release) {
		if site.Checkout != "" {
			return fmt.Errorf("there is no release in %s: use --build to build one of %s", releases, site.Checkout)
		}
		return fmt.Errorf("there is no release in %s: put the code and its virtualenv there first (superctl install, or "+
			"a directory with venv/ in it)", releases)
	}
	t.release = "latest"
	return nil
}

// apply does it.
func (t *takeOver) apply(ctx context.Context, show *takeoverProgress) (out *takeover.Outcome, err error) {
	if b := t.build; b != nil {
		defer func() { err = errors.Join(err, b.remove()) }()
		b.show = show.steps
		if err := b.make(ctx); err != nil {
			return nil, err
		}
	}
	if t.plan != nil {
		if err := t.plan.Apply(ctx, t.cc.Bool("replace"), asRoot, show.did); err != nil {
			return nil, err
		}
	}
	conf, err := config.Load(setup.ConfigPath(t.app))
	if err != nil {
		return nil, err
	}
	if t.build != nil {
		if t.release, err = t.build.install(ctx, conf.Releases); err != nil {
			return nil, err
		}
	}
	s, err := app.ServiceOf(ctx, conf)
	if err != nil {
		return nil, err
	}
	uid := 0
	if s.User != nil {
		uid = int(s.User.Credential.UID)
	}
	return takeover.Run(ctx, takeover.Options{
		App: t.app, Release: t.release, UID: uid, Control: conf.Control, Server: t.server, Manager: t.manager, Move: t.move,
		Addresses: t.addresses,
		Run:       system.Run, Begun: show.begun, Event: show.event, Say: show.say,
	})
}
