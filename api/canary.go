package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Canary describes how a switch tries a release on a part of the new connections before the cutover
// (DESIGN 6, step 5).
type Canary struct {
	// connections out of 10,000, each step larger than the one before; empty = only Networks
	Steps []int `json:"steps,omitempty"`
	// all connections from these networks go to the new release, in every step
	Networks []netip.Prefix `json:"networks,omitempty"`
	For      time.Duration  `json:"for"` // how long each step lasts
	// the command that decides at the end of each step; empty = only the health checks decide
	Check []string `json:"check,omitempty"`
}

// CanaryStatus is the part of the new connections that a generation gets before its cutover.
type CanaryStatus struct {
	Share    float64        `json:"share"` // percent
	Networks []netip.Prefix `json:"networks,omitempty"`
}

const (
	maxShare    = 10_000
	maxStepTime = 24 * time.Hour // a canary blocks all other changes
	maxNetworks = 200            // more do not fit into the gate's filter
)

// Validate returns an error that says what is wrong with the canary and how to correct it.
func (c *Canary) Validate() error {
	switch {
	case len(c.Steps) == 0 && len(c.Networks) == 0:
		return errors.New("a canary needs a share, such as 5%, or networks")
	case c.For <= 0 || c.For > maxStepTime:
		return fmt.Errorf("invalid canary step of %s: use more than 0s and at most 24h, such as 2m", c.For)
	case len(c.Networks) > maxNetworks:
		return fmt.Errorf("too many canary networks: %d: use at most %d, larger ones", len(c.Networks), maxNetworks)
	case c.Check != nil && (len(c.Check) == 0 || c.Check[0] == ""):
		return errors.New("the check of a canary is empty: give a command")
	}
	if err := validateSteps(c.Steps); err != nil {
		return err
	}
	for _, n := range c.Networks {
		if !n.IsValid() || n != n.Masked() {
			return fmt.Errorf("%s is no network: use a form such as 10.0.0.0/8 or 2001:db8::/32", n)
		}
	}
	return nil
}

func validateSteps(steps []int) error {
	for i, share := range steps {
		switch {
		case share <= 0 || share > maxShare:
			return fmt.Errorf("invalid canary share %s: use a share from 0.01%% to 100%%", percent(share))
		case i > 0 && share <= steps[i-1]:
			return fmt.Errorf(
				"invalid canary share %s after %s: each step must be larger than the one before", percent(share),
				percent(steps[i-1]),
			)
		}
	}
	return nil
}

// Shares returns the steps. A canary with networks alone has one step with the share 0.
func (c *Canary) Shares() []int {
	if len(c.Steps) == 0 {
		return []int{0}
	}
	return c.Steps
}

// Part returns text for the part of the connections that a step sends to the new release, such as
// "10.0.0.0/8, 5 %".
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

// Percent formats a share, which counts in 10,000, as a percentage without its sign.
func Percent(share int) string { return strconv.FormatFloat(float64(share)/100, 'f', -1, 64) }
