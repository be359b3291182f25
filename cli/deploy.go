//go:build linux

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/releasecommand"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
)

// deployOutcome is the output of `deploy --json`: the outcome of the switch, with the steps of the
// install and the prune.
type deployOutcome struct {
	api.Outcome
	Installed bool     `json:"installed"` // the deploy made a new release
	Bundle    string   `json:"bundle,omitempty"`
	Pruned    []string `json:"pruned"`
}

func deployCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "deploy", Usage: "install a bundle, make it live, and remove old releases",
		UsageText: "superctl deploy BUNDLE|DIR [--canary SHARE] [--canary-from NETWORKS] [--for DURATION] [--check COMMAND] " +
			"[--expect RELEASE] [--prepare[=LIMIT]] [--run ID [--by NAME] [--follower]] [--older] [--force] " +
			"[--detach] [--wait-lock DURATION] [--dry-run] [--json]",
		Description: `Runs superctl install, switch and prune as one change with one outcome. Installs nothing if the
daemon does not answer or another change is in progress; with --wait-lock it installs, and then waits
for that change. A release that the switch refuses stays
installed. --dry-run fetches and checks the bundle, and installs nothing. DIR is the directory of a
project, on a server that is its own build machine: superctl builds the bundle first.

The bundle is installed by this command, and the switch is made by the daemon: if an ssh connection
breaks during the switch, the switch continues, and superctl attach follows it. With --detach the
command ends as soon as the switch has begun. Old releases are then removed by the next deploy.

   superctl deploy shop-1.2.tar.zst
   superctl deploy .
   superctl deploy s3://releases/shop/shop-1.2.tar.zst --canary 5% --for 5m`,
		Flags: changeFlags(append(canaryFlags(), expectFlag(), releasecommand.OlderFlag(), commandline.ForceFlag(), detachFlag(), waitLockFlag(), dryRunFlag())...),
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 1, 1); err != nil {
				return err
			}
			canary, err := canaryFromFlags(cc)
			if err != nil {
				return err
			}
			req, err := changeRequest(cc, api.Switch)
			if err != nil {
				return err
			}
			req.Canary = canary
			return c.deploy(cc, req)
		},
	}
}

func (c *command) deploy(cc *cli.Context, req api.Request) error {
	conf, daemonClient, err := app.Open(cc)
	if err != nil {
		return err
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	var busy *api.BusyError
	// A deploy that waits installs in the meantime: that does not touch what is live.
	if err := checkIdle(ctx, daemonClient, req.Run); err != nil && (req.Wait == 0 || !errors.As(err, &busy)) {
		return err
	}
	show := c.Progress(cc)
	d := &deployment{prompt: c.prompt(ctx, cc, req), conf: conf, client: daemonClient, req: req, show: show}
	out, err := d.run(releasecommand.BundleRequest{
		Word: cc.Args().First(), Older: cc.Bool("older"), DryRun: req.DryRun,
	})
	var verdict []string
	if out != nil {
		verdict = console.VerdictOf(&out.Outcome)
	}
	show.End(verdict...)
	if errors.Is(err, control.ErrLeave) {
		return c.detach(cc, daemonClient, conf.App)
	}
	if err != nil {
		return err
	}
	return c.Conclude(cc, out, out.Result, console.DoneOf(&out.Outcome, req.DryRun), func() { c.print().deploy(conf.App, out) })
}

// checkIdle returns an error if the daemon cannot be reached, another change is in progress, or the
// app is locked for another run. A deploy asks before it downloads anything.
func checkIdle(ctx context.Context, daemonClient *control.Client, run string) error {
	ctx, cancel := context.WithTimeout(ctx, app.AskTime)
	defer cancel()
	st, err := daemonClient.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case st.Changing != nil:
		return &api.BusyError{Changing: *st.Changing}
	case st.Lock != nil && st.Lock.Run != run:
		return &api.BusyError{Lock: st.Lock}
	}
	return nil
}

// deployment is one run of superctl deploy. Its prompt asks for the switch.
type deployment struct {
	*prompt
	conf   *config.Config
	client *control.Client
	req    api.Request // of the switch
	show   *console.Progress
}

// run installs, switches and prunes. It returns an error if the deploy had no outcome.
func (d *deployment) run(wanted releasecommand.BundleRequest) (*deployOutcome, error) {
	began := d.Now()
	made, steps, err := d.install(wanted)
	if err != nil {
		return nil, err
	}
	out := &deployOutcome{Installed: made.Changed, Bundle: made.Bundle, Pruned: []string{}}
	if made.Result != api.Done || d.req.DryRun && made.New {
		out.Outcome, err = d.notInstalled(made)
		out.Started = began
	} else {
		out.Outcome, err = d.switchTo(made.Release)
	}
	if err != nil {
		return nil, err
	}
	out.Kind, out.Steps, out.Warnings = "deploy", append(steps, out.Steps...), append(made.Warnings, out.Warnings...)
	if out.Result == api.Done && !out.DryRun {
		d.prune(out)
	}
	out.Changed = out.Changed || out.Installed
	out.Seconds = d.Now().Sub(began).Seconds()
	return out, nil
}

// install installs the bundle, which it builds first if a directory is wanted. It returns the steps of
// both.
func (d *deployment) install(wanted releasecommand.BundleRequest) (*releasecommand.InstallOutcome, []api.Step, error) {
	steps := []api.Step{}
	if isDirectory(wanted.Word) {
		built, err := d.buildHere(d.ctx, d.conf, wanted.Word, d.show)
		switch {
		case built == nil:
			return nil, nil, err
		case err != nil:
			return built.notBuilt(err), built.steps, nil
		}
		defer built.remove()
		wanted.Word, steps = built.file, built.steps
	}
	made, err := releasecommand.InstallBundle(d.ctx, d.conf, wanted, d.show, d.Now)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range made.Steps {
		steps = append(steps, api.Step{Name: s.Name, Began: s.Began, Seconds: s.Seconds, Detail: s.Detail})
	}
	return made, steps, nil
}

// switchTo makes the installed release live.
func (d *deployment) switchTo(release string) (api.Outcome, error) {
	d.req.Release = release
	listened := d.show.Listen(d.ctx, d.client, console.NewerThanAll)
	out, err := d.change(d.client, d.req, d.show.Event)
	listened()
	if err != nil {
		return api.Outcome{}, d.switchError(release, err)
	}
	return *out, nil
}

// notInstalled returns the outcome of a deploy whose install has failed, or of a dry run that has
// found nothing against the install.
func (d *deployment) notInstalled(made *releasecommand.InstallOutcome) (api.Outcome, error) {
	out := api.Outcome{
		Result: made.Result, Release: made.Release, Commit: made.Commit, Error: made.Error, Log: made.Log,
		FailedStep: made.Failed, DryRun: d.req.DryRun,
	}
	if u, err := user.Current(); err == nil {
		out.Who = u.Username
	}
	if len(made.Log) > 0 {
		out.Culprit = api.Check
	}
	st, err := d.client.Status(d.ctx)
	if err == nil {
		out.Previous, out.PreviousCommit, out.Generation = st.Release, st.Commit, st.Generation
	}
	if !d.req.DryRun || out.Result != api.Done {
		return out, nil
	}
	if live := cmp.Or(st.Release, api.NoRelease); d.req.Expect != "" && d.req.Expect != live {
		out.Result, out.Error = api.Aborted, fmt.Sprintf("%s is live, and not %s", live, d.req.Expect)
		out.FailedStep = api.StepResolve
		return out, err
	}
	out.Changed = true
	if st.Release != "" {
		var why error
		if out.Packages, why = newPackages(d.conf, st.Release, made.Packages); why != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the packages cannot be compared: %v", why))
		}
	}
	return out, err
}

// newPackages returns how the packages of a bundle differ from those of the live release.
func newPackages(conf *config.Config, live string, is map[string]string) (*api.PackageChanges, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return nil, err
	}
	r, err := store.Get(filepath.Join(store.Dir, live))
	if err != nil {
		return nil, err
	}
	was, err := r.Packages()
	if err != nil {
		return nil, err
	}
	return daemon.DifferentPackages(was, is), nil
}

// switchError returns the error of a deploy whose release is installed and whose switch had no
// outcome.
func (d *deployment) switchError(release string, err error) error {
	switch {
	case errors.Is(err, control.ErrLeave):
		return err
	case d.ctx.Err() != nil && !d.begun:
		return fmt.Errorf(
			"interrupted: %s is installed, and the switch does not begin; to make it live, run superctl switch %s",
			release, release,
		)
	case d.ctx.Err() != nil:
		return fmt.Errorf(
			"interrupted: %s is installed; the switch is aborted before its cutover and continues after it; "+
				"superctl attach shows which", release,
		)
	}
	return fmt.Errorf("%w; %s is installed; to make it live, run superctl switch %s", err, release, release)
}

// prune removes old releases. An error here is only a warning, because the new release is already
// live.
func (d *deployment) prune(out *deployOutcome) {
	began := d.Now()
	d.show.Event(api.Event{Type: "begin", Step: "prune"})
	view, err := releasecommand.PruneOld(d.ctx, d.conf, releasecommand.PruneOptions{}, began)
	step := api.Step{Name: "prune", Began: began, Seconds: d.Now().Sub(began).Seconds(), Detail: "nothing to remove"}
	if view != nil && len(view.Removed) > 0 {
		for _, r := range view.Removed {
			out.Pruned = append(out.Pruned, r.Name)
		}
		step.Detail = fmt.Sprintf("removed %s (%s)", terminal.First(out.Pruned, 3), terminal.Size(view.Freed))
	}
	if err != nil {
		if d.ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		out.Warnings = append(out.Warnings, fmt.Sprintf("old releases were not removed: %v", err))
		d.show.Event(api.Event{Type: "fail", Step: "prune", Seconds: step.Seconds})
		return
	}
	out.Steps = append(out.Steps, step)
	d.show.Event(api.Event{Type: "end", Step: "prune", Detail: step.Detail, Seconds: step.Seconds})
}

// deploy prints the outcome of a deploy.
func (pr printer) deploy(app string, out *deployOutcome) {
	pr.outcome(app, &out.Outcome)
	installed := slices.ContainsFunc(out.Steps, func(s api.Step) bool { return s.Name == "finish" })
	switch {
	case out.Result != api.Done && installed || out.Result == api.Reverted:
		terminal.Prose(
			pr.Stdout, "%s stays installed; to try it again, run superctl switch %s", out.Release, out.Release,
		)
	case out.Result == api.Done && len(out.Pruned) > 0:
		terminal.Prose(pr.Stdout, "removed: %s", terminal.First(out.Pruned, 5))
	}
}
