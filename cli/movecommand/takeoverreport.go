//go:build linux

package movecommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/api"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/plain"
	"superctl/setup"
	"superctl/takeover"
	"superctl/takeover/oldserver"
	"superctl/takeover/running"
)

// takeoverOutcome is what `takeover --json` prints.
type takeoverOutcome struct {
	App       string        `json:"app"`
	Server    string        `json:"server"`  // the old one, "" if it does not run
	Manager   string        `json:"manager"` // what started it
	Addresses []string      `json:"addresses"`
	Release   string        `json:"release"`
	Build     string        `json:"build,omitempty"` // the checkout that the release is built from
	Changed   bool          `json:"changed"`         // by this command
	Done      bool          `json:"done"`            // the app serves, and the old server has ended
	Setup     *initOutcome  `json:"setup,omitempty"`
	Nginx     *nginxOutcome `json:"nginx,omitempty"` // if the server is replaced on another port
	Switch    *api.Outcome  `json:"switch,omitempty"`
	Stop      string        `json:"stop,omitempty"` // how the old server is stopped
	Warnings  []string      `json:"warnings"`
	Error     string        `json:"error,omitempty"`
}

// takeoverProgress shows what a takeover does while it does it.
type takeoverProgress struct {
	t     *takeOver
	steps *console.Progress
}

// did reports what was done before the takeover itself.
func (p *takeoverProgress) did(text string) {
	if !p.t.cc.Bool("json") {
		fmt.Fprintf(p.t.Stdout, "%s %s\n", terminal.PaletteFor(p.t.Stdout).Green("did"), text)
	}
}

func (p *takeoverProgress) begun(s takeover.Step) {
	if text := p.t.stepText(s); text != "" {
		p.did(text)
	}
}

func (p *takeoverProgress) event(e api.Event) { p.steps.Event(e) }
func (p *takeoverProgress) say(text string)   { p.did(text) }

// stepText says what a step does; "" for one that reports by itself.
func (t *takeOver) stepText(s takeover.Step) string {
	switch s {
	case takeover.Share:
		if t.move != nil {
			return ""
		}
		return "share " + strings.Join(t.addresses, ", ") + " with " + t.server.String() + ", which keeps all connections"
	case takeover.Start:
		return "systemctl start superctl@" + t.app
	case takeover.Move:
		return t.nginxText()
	case takeover.Stop:
		if t.move != nil {
			return "wait until nginx's old workers have finished, then stop " + t.server.String()
		}
		return "stop " + t.server.String()
	case takeover.Enable:
		if t.manager.Unit != "" && t.move == nil {
			return "systemctl disable " + t.manager.Unit + ", and enable superctl@" + t.app
		}
		return "systemctl enable superctl@" + t.app
	case takeover.Finish:
		if t.move != nil && t.manager.Unit != "" {
			return "systemctl disable " + t.manager.Unit
		}
	case takeover.Switch, takeover.Done:
	}
	return ""
}

// concludeTakeover shows what is going to happen, and does it if that is wanted.
func (t *takeOver) concludeTakeover(ctx context.Context) error {
	json := t.cc.Bool("json")
	if !json {
		t.print().takeoverPlan(t)
	}
	if !t.cc.Bool("apply") {
		if json {
			return t.JSON(t.outcome(nil, nil))
		}
		args := shellquote.Join(append(os.Args[1:], "--apply")...)
		fmt.Fprintf(t.Stdout, "\nNothing was changed. To do this, as root: superctl %s\n", args)
		return nil
	}
	show := &takeoverProgress{t: t, steps: t.Progress(t.cc)}
	out, err := t.apply(ctx, show)
	show.steps.End()
	if json {
		if also := t.JSON(t.outcome(out, err)); also != nil {
			return also
		}
	}
	if err != nil {
		return t.takeoverFailed(err)
	}
	if !json {
		t.print().takeoverEnd(t, out)
	}
	return nil
}

// takeoverFailed returns the error of a takeover, with its next step.
func (t *takeOver) takeoverFailed(err error) error {
	var failed *takeover.FailedError
	var nothing *takeover.NothingError
	var unbuilt *buildError
	switch {
	case errors.As(err, &unbuilt) && unbuilt.step == "build":
		return fmt.Errorf("takeover: %w\nnothing was changed; %s serves as before", err, t.serverText())
	case errors.As(err, &unbuilt):
		return fmt.Errorf("takeover: %w\n%s serves as before", err, t.serverText())
	case errors.As(err, &nothing):
		return fmt.Errorf("takeover: %w", err)
	case errors.As(err, &failed) && failed.Switch != nil:
		terminal.FailureLog(t.Stderr, failed.Switch)
		was := "refused"
		if failed.Switch.Result == api.Reverted {
			was = "reverted"
		}
		terminal.Prose(t.Stderr, "superctl: takeover: %s was %s: %v\n%s serves as before", t.release, was, failed.Err, t.serverText())
		return &console.OutcomeError{Result: failed.Switch.Result}
	case errors.As(err, &failed):
		return fmt.Errorf("takeover: %w\n%s serves as before", err, t.serverText())
	}
	return fmt.Errorf("takeover: %w\n%s serves; to continue, run the same command again", err, t.app)
}

func (t *takeOver) serverText() string {
	if t.server == nil {
		return "the old server"
	}
	return t.server.String()
}

func (t *takeOver) outcome(out *takeover.Outcome, err error) *takeoverOutcome {
	o := &takeoverOutcome{App: t.app, Manager: t.manager.String(), Addresses: t.addresses, Release: t.release}
	if t.server != nil {
		o.Server = t.server.String()
		o.Stop, o.Warnings = t.describe()
	}
	if t.build != nil {
		o.Build = t.build.site.Checkout
	}
	if t.plan != nil {
		o.Setup = outcomeOfInit(t.dir, t.found, t.plan)
		o.Setup.Next = []string{}
		o.Setup.Imported = t.from.Lines
	}
	o.Nginx = t.nginxOutcome()
	if out != nil {
		o.Changed, o.Switch, o.Done = out.Changed, out.Switch, err == nil
	}
	if err != nil {
		o.Error = err.Error()
	}
	return o
}

// describe says how the old server is stopped, and what the user should know of that.
func (t *takeOver) describe() (method string, warnings []string) {
	method, warnings = oldserver.Describe(t.server)
	if t.move != nil {
		method, warnings = oldserver.DescribeIdle(t.server), t.moveWarnings()
	}
	if t.manager.Kind == running.Supervisord {
		warnings = append(warnings, "supervisord starts "+t.manager.Program+" again when it is started itself: "+
			"after the takeover, set autostart=false in its config, or remove the program")
	}
	return method, warnings
}

// takeoverPlan prints what was found, and what is going to happen.
func (pr printer) takeoverPlan(t *takeOver) {
	p := terminal.PaletteFor(pr.Stdout)
	if t.server == nil {
		fmt.Fprintf(pr.Stdout, "%s %s does not run\n", p.Bold("Found"), t.manager.Unit)
	} else {
		fmt.Fprintf(pr.Stdout, "%s %s on %s, started by %s\n\n", p.Bold("Found"), t.server, t.listening(), t.manager)
	}
	if t.plan != nil {
		pr.imported(t.from)
		pr.initPlan(t.dir, t.found, t.plan)
	} else {
		fmt.Fprintf(pr.Stdout, "%s is used as it is\n", setup.ConfigPath(t.app))
	}
	if t.server == nil {
		return
	}
	fmt.Fprintf(pr.Stdout, "\n%s of the server:\n", p.Bold("Takeover"))
	if t.move != nil {
		pr.move(t)
	}
	_, warnings := t.describe()
	for _, w := range warnings {
		fmt.Fprintf(pr.Stdout, "%s %s\n", p.Yellow("warning:"), w)
	}
	var steps []string
	if t.build != nil {
		if len(t.untracked) > 0 {
			fmt.Fprintf(pr.Stdout, "%s not in git, so not in the release: %s. Add what the app needs to [shared] in the config\n",
				p.Yellow("warning:"), plain.Line(terminal.First(t.untracked, 5)))
		}
		steps = append(steps, t.build.text())
	}
	steps = append(steps, t.steps()...)
	for i, s := range steps {
		fmt.Fprintf(pr.Stdout, "%4d. %s\n", i+1, s)
	}
}

// steps returns the steps of the takeover itself.
func (t *takeOver) steps() []string {
	unit, release := "superctl@"+t.app, cmp.Or(t.release, "it")
	if t.move != nil {
		steps := t.moveSteps(release)
		if t.manager.Unit != "" {
			steps = append(steps, "disable "+t.manager.Unit+" (its file stays)")
		}
		return steps
	}
	method, _ := t.describe()
	steps := []string{
		"start " + unit + " next to it; it keeps all connections",
		"switch to " + release + ": it is proved first, then gets all new connections",
		"stop the old server when its accept queue is empty: " + method,
	}
	if t.manager.Unit != "" {
		return append(steps, "disable "+t.manager.Unit+" (its file stays), and enable "+unit)
	}
	return append(steps, "enable "+unit)
}

// takeoverEnd prints the verdict.
func (pr printer) takeoverEnd(t *takeOver, out *takeover.Outcome) {
	p := terminal.PaletteFor(pr.Stdout)
	at := strings.Join(t.addresses, ", ")
	if !out.Changed {
		fmt.Fprintf(pr.Stdout, "%s serves %s already; %s\n", t.app, at, p.Green("nothing to do"))
		return
	}
	release := t.release
	if out.Switch != nil {
		release = out.Switch.Release
	}
	fmt.Fprintf(pr.Stdout, "%s: %s %s on %s; %s has ended\n", t.app, p.Bold(release), p.Green("is live"), at, t.serverText())
}
