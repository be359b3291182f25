package supervisor

import (
	"fmt"
	"slices"
)

// putBack has the `current` link lead to the live release again, when something else has moved it: before a switch that is refused,
// whoever deploys may have done so, and what follows the link would run a release that is not live.
func (c *change) putBack() {
	if c.s.opt.Moved == nil || c.s.opt.Point == nil {
		return
	}
	var live *Release
	if err := c.s.do(func() {
		if c.s.live != nil && !c.committed {
			r := c.s.live.plan.Release
			live = &r
		}
	}); err != nil || live == nil {
		return
	}
	to := c.s.opt.Moved(*live)
	if to == "" {
		return
	}
	if err := c.s.opt.Point(*live); err != nil {
		c.warn("the current link leads to %s and not to %s, which is live: %v", to, live.Name, err)
		return
	}
	c.warn("the current link had been moved to %s; it leads to %s again, which is live", to, live.Name)
}

// drift is what has become of the releases that run, and of the way back, since they went live. The state of the world, not of the owner:
// it is found out by whoever asks.
func (s *Supervisor) drift(live, previous *Release, warm []Release, st *Status) {
	if s.opt.Moved != nil && live != nil && st.Changing == nil { // whoever deploys may move it before a switch
		if to := s.opt.Moved(*live); to != "" {
			st.Troubles = append(st.Troubles, Trouble{Of: "current link", Why: fmt.Sprintf("it was moved to %s, and %s is live; superctl switch %s puts it back", to, live.Name, live.Name)})
		}
	}
	if s.opt.Broken == nil {
		return
	}
	if live != nil {
		if err := s.opt.Broken(*live); err != nil {
			text := fmt.Sprintf("a worker that ends cannot be replaced: %v", err)
			st.Troubles = append(st.Troubles, Trouble{Of: "live release", Why: text})
			if st.Health == healthOK {
				st.Health, st.Reason = healthDegraded, text
			}
		}
	}
	if previous != nil {
		warm = append(warm, *previous)
	}
	var seen []string
	for _, r := range warm {
		if live != nil && r.Path == live.Path || slices.Contains(seen, r.Path) {
			continue
		}
		seen = append(seen, r.Path)
		if err := s.opt.Broken(r); err != nil {
			st.Troubles = append(st.Troubles, Trouble{Of: "release to go back to", Why: err.Error()})
		}
	}
}

// running are the live release, the previous one, and those that other generations have; as copies.
func (s *Supervisor) running() (live, previous *Release, warm []Release) {
	if s.live != nil {
		r := s.live.plan.Release
		live = &r
	}
	if s.previous != nil {
		r := *s.previous
		previous = &r
	}
	for _, g := range s.generations {
		if g != s.live && g.state == Standby {
			warm = append(warm, g.plan.Release)
		}
	}
	return live, previous, warm
}
