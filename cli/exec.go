package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/cli/config"
	"superctl/releases"
	"superctl/supervisor/control"
	"superctl/supervisor/worker"
)

func (c *command) execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a command in the live release", UsageText: "superctl exec [--release RELEASE] [--] COMMAND [ARGUMENTS]",
		Description: `Runs COMMAND in the directory of the live release, with the environment and as the user of its workers (if you
are root). Its input, output and exit code are the command's own. Without a daemon the current link says what is live.

   superctl exec python manage.py shell
   superctl exec --release previous -- python manage.py showmigrations`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "release", Usage: "another `RELEASE`: a name, the beginning of one, a commit, \"latest\" or \"previous\""}},
		Action: func(cc *cli.Context) error {
			if cc.NArg() == 0 {
				return &usageError{fmt.Errorf("exec: something is missing: %s", cc.Command.UsageText)}
			}
			conf, err := load(cc)
			if err != nil {
				return err
			}
			r, err := execRelease(conf, cc.String("release"))
			if err != nil {
				return err
			}
			if r.Broken != nil {
				return fmt.Errorf("release %s is broken: %w", r.Name, r.Broken)
			}
			env := append(environment(conf, r, conf.User, nil), "SUPERCTL_APP="+conf.App, "SUPERCTL_RELEASE="+r.Name, "SUPERCTL_COMMIT="+r.Commit)
			err = worker.Exec(worker.Command{Args: cc.Args().Slice(), Env: env, Dir: r.Path, User: credential(conf.User)})
			return fmt.Errorf("exec in %s: %w", r.Name, err)
		},
	}
}

// execRelease finds the release that is asked for; "" is the live one.
func execRelease(conf *config.Config, word string) (releases.Release, error) {
	store, err := releases.Open(conf.Releases, conf.Current)
	if err != nil {
		return releases.Release{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	st, err := control.NewClient(conf.Control).Status(ctx)
	var unreachable *control.UnreachableError
	switch {
	case err != nil && !errors.As(err, &unreachable):
		return releases.Release{}, err
	case word != "":
		return store.Resolve(word, releases.Refs{Live: st.Release, Previous: st.Previous})
	case err == nil && st.Release == "":
		return releases.Release{}, errors.New("no release is live; --release names one to run the command in")
	case err == nil:
		return store.Resolve(st.Release, releases.Refs{})
	case conf.Current == "":
		return releases.Release{}, fmt.Errorf("which release is live is not known, as there is no current link and %w; --release names one", err)
	}
	r, missing := store.CurrentTarget()
	if missing != nil {
		return r, fmt.Errorf("which release is live is not known: %w, and %w; --release names one", missing, err)
	}
	return r, nil
}
