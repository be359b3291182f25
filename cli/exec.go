//go:build linux

package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"superctl/cli/app"
	"superctl/cli/commandline"
	"superctl/daemon"
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
	conf, err := app.Load(cc)
	if err != nil {
		return err
	}
	word, err := app.ReleaseName(conf, cc.String("release"))
	if err != nil {
		return err
	}
	r, err := app.Release(conf, word)
	if err != nil {
		return err
	}
	if r.Broken != nil {
		return fmt.Errorf("release %s is broken: %w", r.Name, r.Broken)
	}
	u, err := app.WorkersUser(conf)
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
