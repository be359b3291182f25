package supervisor

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"superctl/api"
)

// releaseWatch notices what becomes of the releases that run.
type releaseWatch struct {
	*core
	owner   *Supervisor
	watched string             // path of the release whose loss is watched for; "" = of none
	unwatch context.CancelFunc // ends that
}

// putBack has the `current` link lead to the live release again, when something else has moved it:
// before a switch that is refused, a deploy script may have done so, and what follows the link
// would run a release that is not live.
func (c *change) putBack() {
	if c.owner.opt.Moved == nil || c.owner.opt.Point == nil {
		return
	}
	var live *Release
	if err := c.owner.do(func() {
		if c.owner.live != nil && !c.committed {
			r := c.owner.live.plan.Release
			live = &r
		}
	}); err != nil || live == nil {
		return
	}
	to := c.owner.opt.Moved(*live)
	if to == "" {
		return
	}
	if err := c.owner.opt.Point(*live); err != nil {
		c.warn("the current link leads to %s and not to %s, which is live: %v", to, live.Name, err)
		return
	}
	c.warn("the current link had been moved to %s; it leads to %s again, which is live", to, live.Name)
}

// examine reports what has become of the releases that run, and of the way back, since they went
// live. That is found out on disk, so it is not the owner's to do.
func (rw *releaseWatch) examine() {
	var live, previous *Release
	var warm []Release
	changing := false
	if err := rw.do(func() {
		live, previous, warm = rw.running()
		changing = rw.owner.change != nil
	}); err != nil || changing {
		return // a deploy script may move the link before a switch
	}
	troubles := []Trouble{
		{Of: "current link", Why: rw.movedLink(live)},
		{Of: "live release", Why: rw.lost(live), Health: HealthDegraded},
		{Of: api.ReplacedTrouble, Why: rw.replaced(live), Health: HealthDegraded},
		{Of: "release to go back to", Why: rw.lostWayBack(live, previous, warm)},
		{Of: "state directory", Why: rw.noRoom(), Health: HealthDegraded},
	}
	_ = rw.do(func() {
		for _, t := range troubles {
			rw.owner.health.report(t)
		}
	})
}

// watch has the live release watched, so that its loss is reported when it happens, and not
// with the next worker that cannot be replaced.
func (rw *releaseWatch) watch() {
	live := ""
	if rw.owner.live != nil && !rw.owner.stopping && !rw.owner.leaving && rw.opt.Watch != nil {
		live = rw.owner.live.plan.Release.Path
	}
	if live == rw.watched {
		return
	}
	if rw.unwatch != nil {
		rw.unwatch()
	}
	rw.watched, rw.unwatch = live, nil
	if live == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	rw.unwatch = cancel
	r := rw.owner.live.plan.Release
	rw.async(func() {
		if err := rw.opt.Watch(ctx, r, rw.examine); err != nil {
			rw.log.Warn("the loss of the live release would be noticed only with a worker's", zap.Error(err))
		}
	})
}

func (rw *releaseWatch) movedLink(live *Release) string {
	if rw.opt.Moved == nil || live == nil {
		return ""
	}
	to := rw.opt.Moved(*live)
	if to == "" {
		return ""
	}
	return fmt.Sprintf("it was moved to %s, and %s is live: superctl switch %s puts it back", to, live.Name, live.Name)
}

func (rw *releaseWatch) lost(live *Release) string {
	if live == nil {
		return ""
	}
	if err := rw.startable(*live); err != nil {
		return fmt.Sprintf("a worker that ends cannot be replaced: %v", err)
	}
	return ""
}

// startable returns why no worker can be started from a release any more, or nil. It asks the disk.
func (co *core) startable(r Release) error {
	if co.opt.Broken == nil {
		return nil
	}
	if err := co.opt.Broken(r); !noDescriptors(err) {
		return err
	}
	return nil // that says nothing about the release
}

func (rw *releaseWatch) replaced(live *Release) string {
	if rw.opt.Replaced == nil || live == nil || !rw.opt.Replaced(*live) {
		return ""
	}
	return fmt.Sprintf("the directory of %s was replaced after it went live: a worker that ends comes back with code that "+
		"was not proved; superctl reload proves that code and makes it live", live.Name)
}

func (rw *releaseWatch) noRoom() string {
	if rw.opt.Room == nil {
		return ""
	}
	if err := rw.opt.Room(); err != nil {
		return fmt.Sprintf("changes are refused: %v", err)
	}
	return ""
}

func (rw *releaseWatch) lostWayBack(live, previous *Release, warm []Release) string {
	lost := func(r Release, why func(Release) error) string {
		if why == nil || live != nil && r.Path == live.Path {
			return ""
		}
		if err := why(r); err != nil && !noDescriptors(err) {
			return err.Error()
		}
		return ""
	}
	for _, r := range warm {
		if text := lost(r, rw.opt.Broken); text != "" {
			return text
		}
	}
	if previous == nil {
		return ""
	}
	return lost(*previous, rw.opt.NoWayBack)
}

// running are the live release, the previous one, and those that are kept warm; as copies.
func (rw *releaseWatch) running() (live, previous *Release, warm []Release) {
	if rw.owner.live != nil {
		r := rw.owner.live.plan.Release
		live = &r
	}
	if rw.owner.previous != nil {
		r := *rw.owner.previous
		previous = &r
	}
	for _, g := range rw.owner.generations {
		if g != rw.owner.live && g.state == Standby {
			warm = append(warm, g.plan.Release)
		}
	}
	return live, previous, warm
}
