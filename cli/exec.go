//go:build linux

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/releases"
	"superctl/supervisor/worker"
)

func execCommand(c *command) *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a command in the live release",
		UsageText: "superctl exec [--release RELEASE] [--] COMMAND [ARGUMENTS]",
		Description: `Runs COMMAND in the directory of the live release, with the environment of its workers and, if you
are root, as their user. Input, output and exit code are those of COMMAND. If no daemon runs,
COMMAND runs in the release that was last live.

   superctl exec python manage.py shell
   superctl exec --release previous -- python manage.py showmigrations`,
		Flags: []cli.Flag{&cli.StringFlag{
			Name:  "release",
			Usage: "use this `RELEASE`: a name, a unique prefix, a commit, \"latest\" or \"previous\"",
		}},
		Action: c.exec,
	}
}

func (c *command) exec(cc *cli.Context) error {
	if cc.NArg() == 0 {
		return commandline.Missing(cc)
	}
	conf, err := load(cc)
	if err != nil {
		return err
	}
	word, err := releaseName(conf, cc.String("release"))
	if err != nil {
		return err
	}
	r, err := execRelease(conf, word)
	if err != nil {
		return err
	}
	if r.Broken != nil {
		return fmt.Errorf("release %s is broken: %w", r.Name, r.Broken)
	}
	u, err := workersUser(conf)
	if err != nil {
		return fmt.Errorf("exec in %s: user of the workers: %w", r.Name, err)
	}
	env, err := daemon.EnvironmentOf(conf, r, u)
	if err != nil {
		return err
	}
	vars := append(
		env.List(), "SUPERCTL_APP="+conf.App, "SUPERCTL_RELEASE="+r.Name, "SUPERCTL_COMMIT="+r.Commit,
	)
	err = worker.Exec(worker.Command{
		Args: cc.Args().Slice(), Env: vars, Secrets: env.Secrets(), Dir: r.Path, User: u.Become(),
	})
	return fmt.Errorf("exec in %s: %w", r.Name, err)
}

// execRelease finds a release by a word of the command line; "" means the live release.
func execRelease(conf *config.Config, word string) (releases.Release, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return releases.Release{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	var unreachable *control.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return lastRelease(conf, store, word, unreachable)
	case err != nil:
		return releases.Release{}, err
	case word != "":
		return store.Resolve(word, releases.Refs{Live: st.Release, Previous: st.Previous})
	case st.Release == "":
		return releases.Release{}, errors.New("no release is live: choose one with --release")
	}
	return store.Resolve(st.Release, releases.Refs{})
}

// lastRelease finds a release without a daemon. The live release is then the one that was last
// live, else the one that the current link points to. Not every user may read the state file, so an
// unreadable one is treated as missing.
func lastRelease(conf *config.Config, store *releases.Store, word string, unreachable error) (releases.Release, error) {
	last, unread := daemon.ReadLast(conf)
	if word != "" {
		return store.Resolve(word, releases.Refs{Live: last.Release.Name, Previous: last.Previous.Name})
	}
	if last.Release.Path != "" {
		return store.Get(last.Release.Path)
	}
	r, missing := store.CurrentTarget()
	switch {
	case conf.Current == "" && unread == nil:
		return r, fmt.Errorf("no release was live, and %w; choose one with --release", unreachable)
	case conf.Current == "":
		return r, fmt.Errorf("the live release is unknown: %w, and %w; choose one with --release", unread, unreachable)
	case missing != nil:
		return r, fmt.Errorf("the live release is unknown: %w, and %w; choose one with --release", missing, unreachable)
	}
	return r, nil
}
