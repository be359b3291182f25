//go:build linux

package movecommand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"superctl/api"
	"superctl/cli/app"
	"superctl/cli/console"
	"superctl/cli/releasecommand"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/setup"
)

// releaseBuild makes a release of the checkout that the old server runs from. It runs superctl build
// and superctl install as unprivileged users: root reads no file of the checkout.
type releaseBuild struct {
	site    *setup.Site
	machine *setup.Machine
	by      *config.User // builds: the owner of the checkout, because git reads no other user's
	show    *console.Progress

	dir    *os.File // of the bundle; opened, so that its owner cannot exchange it
	bundle string   // its path
}

// buildError is a release that could not be built or installed.
type buildError struct {
	step string // "build" or "install"
	err  error
}

func (e *buildError) Error() string { return fmt.Sprintf("%s: %v", e.step, e.err) }

// Unwrap returns the reason.
func (e *buildError) Unwrap() error { return e.err }

// newReleaseBuild returns the build of a site's checkout, or an error if there is nothing to build.
func newReleaseBuild(site *setup.Site, m *setup.Machine, dir string) (*releaseBuild, error) {
	if site.Checkout == "" {
		return nil, fmt.Errorf("%s is a release: leave --build out, or name a server that runs from a plain checkout",
			cmp.Or(dir, "the directory of the server"))
	}
	owner := m.Owner(site.Checkout)
	if owner == "root" { // its dependencies are not built as root
		owner = site.User
	}
	by, err := config.UserNamed(owner)
	if err != nil {
		return nil, fmt.Errorf("--build: who builds %s: %w", site.Checkout, err)
	}
	return &releaseBuild{site: site, machine: m, by: by}, nil
}

// text says what the build does.
func (b *releaseBuild) text() string {
	return fmt.Sprintf("build a release of %s as %s: the commit that is checked out, with its dependencies in a virtualenv",
		b.site.Checkout, b.by.Name)
}

// make builds the bundle, in a directory that remove removes.
func (b *releaseBuild) make(ctx context.Context) error {
	dir, err := os.MkdirTemp("/var/tmp", "superctl-takeover-")
	if err != nil {
		return &buildError{"build", err}
	}
	b.bundle = dir
	if b.dir, err = os.Open(dir); err != nil {
		return &buildError{"build", err}
	}
	if err := b.dir.Chown(int(b.by.Credential.UID), int(b.by.Credential.GID)); err != nil {
		return &buildError{"build", err}
	}
	args := b.site.BuildArgs(dir)
	if b.site.Python.Version != "" {
		args = append(args, "--python", b.site.Python.Version)
	}
	var out releasecommand.BuildOutcome
	if err := b.run(ctx, b.by, args, &out); err != nil {
		return &buildError{"build", err}
	}
	b.bundle = filepath.Join(dir, filepath.Base(out.File))
	for _, w := range out.Warnings {
		if !strings.Contains(w, "untracked file") { // the plan names those that matter
			b.show.Event(api.Event{Type: "output", Step: "build", Detail: "warning: " + w})
		}
	}
	b.show.Event(api.Event{
		Type: "end", Step: "build", Detail: out.Version + " of " + b.site.Checkout, Seconds: out.Seconds,
	})
	return nil
}

// install makes a release of the bundle, as the owner of the releases. It returns its name.
func (b *releaseBuild) install(ctx context.Context, releases string) (string, error) {
	by, err := config.UserNamed(b.machine.Owner(releases))
	if err != nil {
		return "", &buildError{"install", err}
	}
	err = errors.Join(b.dir.Chown(int(b.by.Credential.UID), int(by.Credential.GID)), b.dir.Chmod(0o750))
	if err != nil {
		return "", &buildError{"install", err}
	}
	var out releasecommand.InstallOutcome
	if err := b.run(ctx, by, []string{"--app", b.site.App, "install", b.bundle}, &out); err != nil {
		return "", &buildError{"install", err}
	}
	b.show.Event(api.Event{Type: "end", Step: "install", Detail: out.Path, Seconds: out.Seconds})
	return out.Release, nil
}

// remove removes the bundle.
func (b *releaseBuild) remove() error {
	if b.dir == nil {
		return nil
	}
	return errors.Join(b.dir.Close(), os.RemoveAll(b.dir.Name()))
}

// decideBuild decides on the build of --build. What serves already is not built again.
func (t *takeOver) decideBuild(ctx context.Context) (err error) {
	if !t.checkout || t.server == nil || t.live(ctx) {
		return nil
	}
	if t.build, err = newReleaseBuild(t.found.Site, t.machine, t.dir); err == nil {
		t.untracked = t.build.notInGit(ctx, t.from)
	}
	return err
}

// live reports whether the app of an interrupted takeover serves already.
func (t *takeOver) live(ctx context.Context) bool {
	if t.plan != nil {
		return false
	}
	conf, err := config.Load(setup.ConfigPath(t.app))
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, app.AskTime)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(ctx)
	return err == nil && st.Release != ""
}
