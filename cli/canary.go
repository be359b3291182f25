package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/urfave/cli/v2"

	"superctl/api"
)

// canaryFor is how long a step of a canary lasts unless --for says otherwise.
const canaryFor = time.Minute

func canaryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:  "canary",
			Usage: "try it first on this `SHARE` of the new connections: 5%, or step by step 1%,10%,50%",
		},
		&cli.StringFlag{
			Name:  "canary-from",
			Usage: "send all new connections from these `NETWORKS` to it: 10.0.0.0/8,2001:db8::/32",
		},
		&cli.StringFlag{Name: "for", Usage: "how `LONG` each step of the canary lasts (1m)"},
		&cli.StringFlag{
			Name:  "check",
			Usage: "`COMMAND` that decides at the end of each step: any exit code but 0 takes the release back",
		},
	}
}

// canaryOf reads the canary of a command line; nil for none.
func canaryOf(cc *cli.Context) (*api.Canary, error) {
	canary, err := parseCanary(
		cc.String("canary"), cc.String("canary-from"), cc.String("for"), cc.String("check"), cc.IsSet,
	)
	if err != nil {
		return nil, &usageError{fmt.Errorf("%s: %w", cc.Command.Name, err)}
	}
	return canary, nil
}

func parseCanary(shares, networks, duration, check string, given func(flag string) bool) (c *api.Canary, err error) {
	if !given("canary") && !given("canary-from") {
		for _, flag := range []string{"for", "check"} {
			if given(flag) {
				return nil, fmt.Errorf(
					"--%s is for a canary: add --canary 5%% or --canary-from NETWORK, or leave it out", flag,
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
		if c.Networks, err = parseNetworks(networks); err != nil {
			return nil, err
		}
	}
	if given("for") {
		if c.For, err = time.ParseDuration(duration); err != nil {
			return nil, fmt.Errorf("--for %s: write a length of time such as 30s or 2m", duration)
		}
	}
	if given("check") {
		c.Check, err = shellquote.Split(check)
		if err == nil && len(c.Check) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf(
				"--check %q: write a command, such as --check \"python manage.py canary\": %w", check, err,
			)
		}
	}
	return c, c.Validate()
}

// parseShares reads shares in per cent, of which the gate knows hundredths.
func parseShares(text string) (steps []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		digits, isShare := strings.CutSuffix(word, "%")
		share, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		hundredths := int(share*100 + 0.5)
		switch {
		case err != nil || !isShare:
			return nil, fmt.Errorf(
				"--canary %s: %q is no share: write one such as 5%%, or several such as 1%%,10%%,50%%", text, word,
			)
		case !(share > 0 && share <= 100) || hundredths == 0: // NaN too
			return nil, fmt.Errorf("--canary %s: write a share from 0.01%% to 100%%, not %s", text, word)
		case len(steps) > 0 && hundredths <= steps[len(steps)-1]:
			return nil, fmt.Errorf(
				"--canary %s: each step must be larger than the one before, such as 1%%,10%%,50%%", text,
			)
		}
		steps = append(steps, hundredths)
	}
	return steps, nil
}

func parseNetworks(text string) (list []netip.Prefix, err error) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		network, err := netip.ParsePrefix(word)
		if host, one := netip.ParseAddr(word); one == nil && host.Zone() == "" {
			return nil, fmt.Errorf(
				"--canary-from %s: %s is an address: write %s for it alone", text, word,
				netip.PrefixFrom(host, host.BitLen()),
			)
		}
		if err != nil {
			return nil, fmt.Errorf(
				"--canary-from %s: %q is no network: write one such as 10.0.0.0/8 or 2001:db8::/32", text, word,
			)
		}
		if network != network.Masked() {
			return nil, fmt.Errorf("--canary-from %s: %s is an address in a network: write %s for the network or %s for it alone",
				text, word, network.Masked(), netip.PrefixFrom(network.Addr(), network.Addr().BitLen()))
		}
		list = append(list, network)
	}
	return list, nil
}

// partText is what a canary gets, for people.
func partText(c *api.CanaryStatus) string {
	var parts []string
	for _, n := range c.Networks {
		parts = append(parts, n.String())
	}
	if c.Share > 0 {
		parts = append(parts, strconv.FormatFloat(c.Share, 'f', -1, 64)+" %")
	}
	return strings.Join(parts, ", ")
}
