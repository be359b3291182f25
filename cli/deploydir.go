//go:build linux

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"superctl/api"
	"superctl/cli/console"
	"superctl/cli/releasecommand"
	"superctl/config"
	"superctl/releases/build"
)

// builtHere is the bundle of a project that a deploy has built on the server itself.
type builtHere struct {
	file   string
	steps  []api.Step
	failed string // the step that failed
}

func isDirectory(word string) bool {
	st, err := os.Stat(word)
	return err == nil && st.IsDir()
}

// buildHere builds the bundle of the project in a directory, in a temporary directory. The result has the
// steps until an error, and no file.
func (c *command) buildHere(ctx context.Context, conf *config.Config, dir string, show *console.Progress) (*builtHere, error) {
	if len(conf.Install.Keys) > 0 {
		return nil, fmt.Errorf("deploy %s: this app takes signed bundles only ([trust]): run superctl build --sign KEYFILE %s, "+
			"and deploy the bundle", dir, dir)
	}
	opt, err := releasecommand.ProjectOptions(dir, "", c.Now)
	if err != nil {
		return nil, err
	}
	opt.Name, opt.Show = conf.Install.Name, releasecommand.ShowBuild(show) // a bundle of another name would be refused
	opt.Python = cmp.Or(opt.Python, conf.Install.Python)
	if opt.Output, err = os.MkdirTemp("", "superctl-deploy-"); err != nil {
		return nil, fmt.Errorf("deploy %s: %w", dir, err)
	}
	syscall.Umask(0o022) // file modes in the bundle must not depend on who builds it
	r, err := build.Build(ctx, opt)
	built := &builtHere{steps: []api.Step{}, failed: r.Failed}
	for _, s := range r.Steps {
		built.steps = append(built.steps, api.Step{Name: s.Name, Began: s.Began, Seconds: s.Seconds, Detail: s.Detail})
	}
	if err == nil {
		built.file = r.File
		return built, nil
	}
	_ = os.RemoveAll(opt.Output)
	if ctx.Err() != nil {
		return built, errors.New("interrupted; nothing was installed")
	}
	return built, fmt.Errorf("build %s: %w", dir, err)
}

// notBuilt returns the outcome of an install whose bundle could not be built.
func (b *builtHere) notBuilt(err error) *releasecommand.InstallOutcome {
	return &releasecommand.InstallOutcome{Result: api.Aborted, Error: err.Error(), Failed: cmp.Or(b.failed, "build")}
}

// remove removes the bundle once it is installed.
func (b *builtHere) remove() { _ = os.RemoveAll(filepath.Dir(b.file)) }
