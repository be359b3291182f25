package supervisor

import (
	"context"
	"fmt"

	"go.uber.org/zap"
)

// putBack has the `current` link lead to the live release again, when something else has moved it:
// before a switch that is refused, whoever deploys may have done so, and what follows the link
// would run a release that is not live.
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

// examine reports what has become of the releases that run, and of the way back, since they went
// live. That is found out on disk, so it is not the owner's to do.
func (s *Supervisor) examine() {
	var live, previous *Release
	var warm []Release
	changing := false
	if err := s.do(func() {
		live, previous, warm = s.running()
		changing = s.change != nil
	}); err != nil || changing {
		return // whoever deploys may move the link before a switch
	}
	troubles := []Trouble{
		{Of: "current link", Why: s.movedLink(live)},
		{Of: "live release", Why: s.lost(live), Health: HealthDegraded},
		{Of: "release to go back to", Why: s.lostWayBack(live, previous, warm)},
		{Of: "state directory", Why: s.noRoom(), Health: HealthDegraded},
	}
	_ = s.do(func() {
		for _, t := range troubles {
			s.report(t)
		}
	})
}

// watchLive has the live release watched, so that its loss is reported when it happens, and not
// with the next worker that cannot be replaced.
func (s *Supervisor) watchLive() {
	live := ""
	if s.live != nil && !s.stopping && !s.leaving && s.opt.Watch != nil {
		live = s.live.plan.Release.Path
	}
	if live == s.watched {
		return
	}
	if s.unwatch != nil {
		s.unwatch()
	}
	s.watched, s.unwatch = live, nil
	if live == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.unwatch = cancel
	r := s.live.plan.Release
	s.beside(func() {
		if err := s.opt.Watch(ctx, r, s.examine); err != nil {
			s.log.Warn("the loss of the live release would be noticed only with a worker's", zap.Error(err))
		}
	})
}

func (s *Supervisor) movedLink(live *Release) string {
	if s.opt.Moved == nil || live == nil {
		return ""
	}
	to := s.opt.Moved(*live)
	if to == "" {
		return ""
	}
	return fmt.Sprintf("it was moved to %s, and %s is live: superctl switch %s puts it back", to, live.Name, live.Name)
}

func (s *Supervisor) lost(live *Release) string {
	if s.opt.Broken == nil || live == nil {
		return ""
	}
	if err := s.opt.Broken(*live); err != nil && !noDescriptors(err) {
		return fmt.Sprintf("a worker that ends cannot be replaced: %v", err)
	}
	return ""
}

func (s *Supervisor) noRoom() string {
	if s.opt.Room == nil {
		return ""
	}
	if err := s.opt.Room(); err != nil {
		return fmt.Sprintf("changes are refused: %v", err)
	}
	return ""
}

func (s *Supervisor) lostWayBack(live, previous *Release, warm []Release) string {
	if previous != nil {
		warm = append(warm, *previous)
	}
	for _, r := range warm {
		if s.opt.Broken == nil || live != nil && r.Path == live.Path {
			continue
		}
		if err := s.opt.Broken(r); err != nil && !noDescriptors(err) {
			return err.Error()
		}
	}
	return ""
}

// running are the live release, the previous one, and those that are kept warm; as copies.
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
