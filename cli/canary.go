//go:build linux

package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
)

// canaryFor is the default of --for, the duration of each step of a canary.
const canaryFor = time.Minute

func canaryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:  "canary",
			Usage: "first send this `SHARE` of the new connections to RELEASE: 5%, or in steps 1%,10%,50%",
		},
		&cli.StringFlag{
			Name:  "canary-from",
			Usage: "first send all new connections from these `NETWORKS` to RELEASE: 10.0.0.0/8,2001:db8::/32",
		},
		&cli.StringFlag{Name: "for", Usage: "the `DURATION` of each step of the canary (default: 1m)"},
		&cli.StringFlag{
			Name:  "check",
			Usage: "run `COMMAND` at the end of each step: any exit code but 0 ends the canary and aborts the switch",
		},
	}
}

// canaryFromFlags returns the canary that the flags describe, or nil if they describe none.
func canaryFromFlags(cc *cli.Context) (*api.Canary, error) {
	canary, err := parseCanary(
		cc.String("canary"), cc.String("canary-from"), cc.String("for"), cc.String("check"), cc.IsSet,
	)
	if err != nil {
		return nil, commandline.Usagef("%s: %w", cc.Command.Name, err)
	}
	return canary, nil
}

func parseCanary(shares, networks, duration, check string, given func(flag string) bool) (c *api.Canary, err error) {
	if !given("canary") && !given("canary-from") {
		for _, flag := range []string{"for", "check"} {
			if given(flag) {
				return nil, fmt.Errorf(
					"--%s needs a canary: add --canary 5%% or --canary-from NETWORK, or remove it", flag,
				)
			}
		}
		return nil, nil // none was asked for
	}
	c = &api.Canary{For: canaryFor}
	if given("canary") {
		if c.Steps, err = parseShares(shares); err != nil {
			return nil, err
		}
	}
	if given("canary-from") {
		if c.Networks, err = commandline.Networks("canary-from", networks); err != nil {
			return nil, err
		}
	}
	if given("for") {
		if c.For, err = time.ParseDuration(duration); err != nil {
			return nil, fmt.Errorf("--for %s: invalid duration: use a form such as 30s or 2m", duration)
		}
	}
	if given("check") {
		c.Check, err = shellquote.Split(check)
		if err == nil && len(c.Check) == 0 {
			err = errors.New("no command")
		}
		if err != nil {
			return nil, fmt.Errorf(
				"--check %q: %w: use a command such as --check \"python manage.py canary\"", check, err,
			)
		}
	}
	return c, c.Validate()
}

// parseShares parses percentages and returns them in hundredths of a percent, the unit of the gate.
func parseShares(text string) (steps []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		digits, isShare := strings.CutSuffix(word, "%")
		share, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		hundredths := int(share*100 + 0.5)
		switch {
		case err != nil || !isShare:
			return nil, fmt.Errorf(
				"--canary %s: invalid share %q: use one such as 5%%, or steps such as 1%%,10%%,50%%", text, word,
			)
		case !(share > 0 && share <= 100) || hundredths == 0: // NaN too
			return nil, fmt.Errorf("--canary %s: invalid share %s: use 0.01%% to 100%%", text, word)
		case len(steps) > 0 && hundredths <= steps[len(steps)-1]:
			return nil, fmt.Errorf(
				"--canary %s: each step must be larger than the one before, such as 1%%,10%%,50%%", text,
			)
		}
		steps = append(steps, hundredths)
	}
	return steps, nil
}
