package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"superctl/api"
	"superctl/plain"
)

// lateCover is the maintenance page of a hold that lasts too long (hold_page). New connections get it
// instead of waiting; those that wait already go on waiting, and none of them is lost. The page is down
// again once the app serves, whatever the end of the hold. The next daemon does not go on with it: there,
// connections wait for the workers that it starts.
type lateCover struct {
	holding
	began   time.Time // of the hold
	problem error     // why there is no page
	shown   time.Time // zero = it was not shown
}

// coverWhenLate shows the page once connections have been held for as long as they may. The function
// that it returns ends that, and may be called again.
func (h holding) coverWhenLate(began time.Time) (uncover func()) {
	if !h.plan.holdPage() {
		return func() {}
	}
	lc := &lateCover{holding: h, began: began}
	ctx, stop := context.WithCancel(context.Background()) // a change that is cancelled holds on until the old release serves
	ended := make(chan struct{})
	h.owner.async(func() {
		defer close(ended)
		lc.problem = lc.cover(ctx)
	})
	return sync.OnceFunc(func() {
		stop()
		<-ended
		lc.uncover()
	})
}

// cover waits until the hold lasts too long, and shows the page.
func (lc *lateCover) cover(ctx context.Context) error {
	limit := lc.plan.hold()
	late := time.NewTimer(time.Until(lc.began.Add(limit)))
	defer late.Stop()
	select {
	case <-late.C:
	case <-ctx.Done():
		return nil
	case <-lc.owner.done:
		return nil
	}
	if ask(lc.owner.core, func() bool { return lc.owner.maintenance.on != nil }) {
		return nil // users get a page already
	}
	on := &api.MaintenanceStatus{
		Since: time.Now(), Who: lc.req.Who, Origin: lc.req.Origin, Hold: true,
		RetryAfter: (limit + time.Second - 1).Truncate(time.Second),
	}
	page, err := lc.bootPage(on)
	if err == nil {
		if err = lc.maintaining().provePage(ctx, page); err == nil {
			err = lc.showPage(ctx, page, on)
		}
		if err != nil {
			lc.maintaining().abandonPage(page, err)
		}
	}
	if ctx.Err() != nil {
		return nil // the app serves, so the page is not needed any more
	}
	return err
}

// bootPage starts a page without connections, once the next daemon would know it.
func (lc *lateCover) bootPage(on *api.MaintenanceStatus) (page *generation, err error) {
	mt := &lc.owner.maintenance
	if err := lc.owner.try(mt.refuseLate); err != nil {
		return nil, err
	}
	p, err := mt.opt.Page(*on, nil)
	if err != nil {
		return nil, err
	}
	if err := lc.owner.try(func() (err error) {
		page, err = mt.open(p)
		return err
	}); err != nil {
		return nil, err
	}
	if err := lc.owner.journal.durable(); err != nil {
		lc.maintaining().abandonPage(page, err)
		return nil, err
	}
	return page, lc.owner.do(page.wantListening)
}

// refuseLate says why an app cannot show a page while it holds connections.
func (mt *maintenance) refuseLate() error {
	if mt.opt.Page == nil {
		return errNoPage
	}
	for _, gate := range mt.gates() {
		if sharesQueue(gate) {
			return fmt.Errorf("listener %q (%s) has one queue for all generations", gate.Name(), gate.Address())
		}
	}
	return nil
}

// showPage turns the gates to the page, unless the app serves meanwhile.
func (lc *lateCover) showPage(ctx context.Context, page *generation, on *api.MaintenanceStatus) error {
	if err := lc.owner.try(func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_, err := lc.owner.maintenance.show(page, on)
		return err
	}); err != nil {
		return err
	}
	lc.shown = time.Now()
	lc.emit(Event{
		Type: "progress", Step: lc.stepNow(),
		Detail: "new connections get the maintenance page, with Retry-After: " + plain.Duration(on.RetryAfter),
	})
	_ = lc.owner.journal.durable() // a failure says so itself, and is tried again
	return nil
}

// uncover sends new connections to the app again.
func (lc *lateCover) uncover() {
	if lc.problem != nil {
		lc.warn("new connections wait, because the page of hold_page is not shown: %v", lc.problem)
	}
	if lc.shown.IsZero() {
		return
	}
	mt := &lc.owner.maintenance
	if err := lc.undo().untilDone(func() error {
		if err := lc.undo().refuseStopping(); err != nil {
			return err // its listeners are closed with the others
		}
		if mt.on == nil || !mt.on.Hold {
			return nil
		}
		page, err := mt.hide()
		if err == nil && page != nil {
			mt.async(page.withdrawAdopted)
		}
		return err
	}); err != nil {
		if !errors.Is(err, ErrStopping) {
			lc.warn("new connections still get the maintenance page: %v; superctl maintenance off ends it", err)
		}
		return
	}
	lc.warn("new connections got the maintenance page for %s: they would have waited for longer than hold = %s",
		plain.Duration(time.Since(lc.shown).Round(time.Millisecond)), plain.Duration(lc.plan.hold()))
	_ = lc.owner.journal.durable() // a failure says so itself, and is tried again
}
