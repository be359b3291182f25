package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Canary is how a switch tries a release on a part of the new connections before its cutover
// (DESIGN 6, step 5).
type Canary struct {
	// shares of the connections in 10,000, each above the one before; none = the networks only
	Steps []int `json:"steps,omitempty"`
	// all connections from these go to the new release, in every step
	Networks []netip.Prefix `json:"networks,omitempty"`
	For      time.Duration  `json:"for"` // how long each step lasts
	// the command that decides at the end of each step; none = the health checks alone
	Check []string `json:"check,omitempty"`
}

// CanaryStatus is what a generation gets of the new connections before its cutover.
type CanaryStatus struct {
	Share    float64        `json:"share"` // per cent
	Networks []netip.Prefix `json:"networks,omitempty"`
}

const (
	wholeShare    = 10_000
	longestCanary = 24 * time.Hour // of one step: no other change is possible meanwhile
	mostNetworks  = 200            // more would not fit into the gate's filter
)

// Validate says what is wrong with a canary, and what to write.
func (c *Canary) Validate() error {
	switch {
	case len(c.Steps) == 0 && len(c.Networks) == 0:
		return errors.New("a canary needs a share, such as 5%, or networks")
	case c.For <= 0 || c.For > longestCanary:
		return fmt.Errorf("a canary of %s: each step lasts more than 0s and at most 24h, such as 2m", c.For)
	case len(c.Networks) > mostNetworks:
		return fmt.Errorf("%d networks: at most %d can be named; write larger ones", len(c.Networks), mostNetworks)
	case c.Check != nil && (len(c.Check) == 0 || c.Check[0] == ""):
		return errors.New("the check of a canary is empty: write a command")
	}
	for i, share := range c.Steps {
		switch {
		case share <= 0 || share > wholeShare:
			return fmt.Errorf("a canary of %s: write a share from 0.01%% to 100%%", percent(share))
		case i > 0 && share <= c.Steps[i-1]:
			return fmt.Errorf(
				"a canary of %s after %s: each step must be larger than the one before", percent(share),
				percent(c.Steps[i-1]),
			)
		}
	}
	for _, n := range c.Networks {
		if !n.IsValid() || n != n.Masked() {
			return fmt.Errorf("%s is no network: write one such as 10.0.0.0/8 or 2001:db8::/32", n)
		}
	}
	return nil
}

// Shares are the steps; one of networks only has a share of nothing.
func (c *Canary) Shares() []int {
	if len(c.Steps) == 0 {
		return []int{0}
	}
	return c.Steps
}

// Part says in words what a step sends to the new release.
func (c *Canary) Part(share int) string {
	var parts []string
	for _, n := range c.Networks {
		parts = append(parts, n.String())
	}
	if share > 0 {
		parts = append(parts, percent(share))
	}
	return strings.Join(parts, ", ")
}

func percent(share int) string { return Percent(share) + " %" }

// Percent is a share in per cent.
func Percent(share int) string { return strconv.FormatFloat(float64(share)/100, 'f', -1, 64) }
