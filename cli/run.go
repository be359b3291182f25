//go:build linux

package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/console"
)

// runFlags are the flags of a change that belongs to a run: one deploy over several hosts.
func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "run", Usage: "the `ID` of the deploy over several hosts that this is a part of; " +
				"kept in the history and in the environment of hooks",
		},
		&cli.StringFlag{Name: "by", Usage: "the `NAME` of the person who began the run"},
	}
}

func followerFlag() cli.Flag {
	return &cli.BoolFlag{
		Name: "follower", Usage: "leave out the hooks with once = true: another host of the run runs them",
	}
}

func expectFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "expect", Usage: "refuse unless `RELEASE` is live now; \"none\" if no release may be live",
	}
}

func fromFlag() cli.Flag {
	return &cli.StringFlag{Name: "from", Usage: "go back only if `RELEASE` is live; otherwise there is nothing to do"}
}

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{
		Name: "dry-run", Aliases: []string{"plan"},
		Usage: "show what would be done, and whether it would be refused; change nothing",
	}
}

// waitLockFlag is the flag of changes that wait for another one.
func waitLockFlag() cli.Flag {
	return &cli.DurationFlag{
		Name:  "wait-lock",
		Usage: "wait up to `DURATION`, such as 5m, while another change is in progress, or the app is locked for another run",
	}
}

// changeRequest returns the request for a change, with what the flags of its command say.
func changeRequest(cc *cli.Context, kind api.Kind) (api.Request, error) {
	limit, err := prepareFrom(cc)
	req := api.Request{
		Kind: kind, Force: cc.Bool("force"), Detach: cc.Bool("detach"), Prepare: limit,
		Expect: cc.String("expect"), Follower: cc.Bool("follower"), DryRun: cc.Bool("dry-run"),
		Origin: api.Origin{Run: cc.String("run"), Behalf: cc.String("by")}, Wait: cc.Duration("wait-lock"),
	}
	if kind == api.Rollback {
		req.Expect = cc.String("from")
	}
	err = errors.Join(err, req.Validate())
	for _, flag := range []string{"run", "expect", "from"} {
		if cc.IsSet(flag) && cc.String(flag) == "" {
			err = errors.Join(err, fmt.Errorf("--%s is empty: leave it out, or give a value", flag))
		}
	}
	if err == nil {
		err = contradiction(req)
	}
	if err != nil {
		return req, commandline.Usagef("%s: %w", cc.Command.Name, err)
	}
	return req, nil
}

// contradiction returns an error if flags of a change do not go together.
func contradiction(req api.Request) error {
	switch {
	case req.Wait < 0:
		return fmt.Errorf("--wait-lock %s: it cannot be negative", req.Wait)
	case req.Detach && req.Prepare > 0:
		return errors.New("--detach and --prepare exclude each other: a prepared change needs a client that waits")
	case req.DryRun && (req.Prepare > 0 || req.Detach):
		return errors.New("--dry-run begins nothing, so leave out --prepare and --detach")
	case req.Follower && req.Run == "":
		return errors.New("--follower needs a run: add --run ID")
	case req.Behalf != "" && req.Run == "":
		return errors.New("--by needs a run: add --run ID")
	}
	return nil
}

// changeFlags returns the flags of a command for a change: its own, and then those that all have.
func changeFlags(own ...cli.Flag) []cli.Flag {
	return slices.Concat(
		own, []cli.Flag{prepareFlag(), console.HeartbeatFlag()}, runFlags(), []cli.Flag{followerFlag(), commandline.JSONFlag()},
	)
}
