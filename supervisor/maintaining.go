package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"superctl/api"
	"superctl/supervisor/health"
)

// maintaining is the change that shows a maintenance page to users, or ends that.
type maintaining struct{ *change }

func (c *change) maintaining() maintaining { return maintaining{c} }

func (mc maintaining) perform() error {
	if mc.from != nil {
		mc.plan = mc.from.plan
	}
	if err := mc.resolution().noteRelease(); err != nil {
		return err
	}
	if mc.req.Maintenance == nil {
		return mc.turnOff()
	}
	return mc.turnOn()
}

// turnOn proves a page, and sends all connections to it.
func (mc maintaining) turnOn() error {
	on := &api.MaintenanceStatus{
		Since: mc.began, Who: mc.req.Who, Origin: mc.req.Origin, RetryAfter: mc.req.Maintenance.RetryAfter,
		Allow: mc.req.Maintenance.Allow, Page: mc.req.Maintenance.Sum(),
	}
	if err := mc.owner.do(func() {
		was := mc.owner.maintenance.on
		if was == nil {
			return
		}
		if was.RetryAfter == on.RetryAfter && was.Page == on.Page && fmt.Sprint(was.Allow) == fmt.Sprint(on.Allow) &&
			mc.owner.maintenance.page != nil {
			mc.unchanged = "maintenance is on already"
		}
		on.Since, on.Who, on.Origin = was.Since, was.Who, was.Origin // it goes on with another page
	}); err != nil || mc.unchanged != "" {
		return err
	}
	var page *generation
	err := oneByOne(func() error {
		return mc.step(stepBoot, func(context.Context) (detail string, err error) {
			page, err = mc.boot(*on)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("generation %d", page.id), nil
		})
	}, func() error {
		return mc.step(stepProve, func(ctx context.Context) (string, error) { return "", mc.provePage(ctx, page) })
	}, func() error {
		return mc.step(stepCutover, func(context.Context) (string, error) { return mc.show(page, on) })
	})
	if err != nil && page != nil {
		mc.abandonPage(page, err)
	}
	return err
}

// boot starts a page without connections.
func (mc maintaining) boot(on api.MaintenanceStatus) (*generation, error) {
	p, err := mc.owner.opt.Page(on, mc.req.Maintenance.Body)
	if err != nil {
		return nil, err
	}
	var page *generation
	if err := mc.owner.try(func() (err error) {
		page, err = mc.owner.maintenance.open(p)
		return err
	}); err != nil {
		return nil, err
	}
	if err := mc.save().now(); err != nil {
		mc.abandonPage(page, err)
		return nil, err
	}
	return page, mc.owner.do(page.wantListening)
}

// abandonPage ends a page that has had no connections, and waits for that.
func (mc maintaining) abandonPage(page *generation, cause error) {
	if mc.owner.do(func() {
		if page.state == Booting || page.state == Staged {
			page.fail(nil, cause.Error())
			page.retire()
		}
	}) != nil {
		return
	}
	select {
	case <-page.done:
	case <-mc.owner.done:
	}
}

// provePage waits until the page answers on each listener.
func (mc maintaining) provePage(ctx context.Context, page *generation) error {
	if err := mc.owner.await(ctx, func() (bool, error) { return page.state == Staged, page.failed() }); err != nil {
		return err
	}
	return page.verifyListeners()
}

// show turns the gates to the page.
func (mc maintaining) show(page *generation, on *api.MaintenanceStatus) (string, error) {
	var before *generation
	if err := mc.owner.try(func() (err error) {
		if cause := context.Cause(mc.ctx); cause != nil {
			return cause
		}
		began := time.Now()
		if before, err = mc.owner.maintenance.show(page, on); err != nil {
			return err
		}
		mc.turned, mc.committed = time.Since(began), true
		return nil
	}); err != nil {
		return "", err
	}
	mc.save().cutover()
	if err := page.verifyListeners(); err != nil {
		mc.warn("%v", err)
	}
	mc.withdraw(before)
	return fmt.Sprintf("%.2f ms", float64(mc.turned.Microseconds())/1000), nil
}

// turnOff proves the app, and sends all connections to it.
func (mc maintaining) turnOff() error {
	if ask(mc.owner.core, func() bool { return mc.owner.maintenance.on == nil }) {
		mc.unchanged = "maintenance is off already"
		return nil
	}
	if mc.from == nil {
		return errors.New("no release is live, so the maintenance page stays: superctl switch RELEASE starts one")
	}
	if err := mc.step(stepProve, mc.proveApp); err != nil {
		return err
	}
	return mc.step(stepCutover, mc.hide)
}

// hide turns the gates to the app.
func (mc maintaining) hide(context.Context) (string, error) {
	var before *generation
	if err := mc.owner.try(func() (err error) {
		if cause := context.Cause(mc.ctx); cause != nil {
			return cause
		}
		began := time.Now()
		if before, err = mc.owner.maintenance.hide(); err != nil {
			return err
		}
		mc.turned, mc.committed = time.Since(began), true
		return nil
	}); err != nil {
		return "", err
	}
	mc.save().cutover()
	if err := mc.from.verifyListeners(); err != nil {
		mc.warn("%v", err)
		_ = mc.owner.do(mc.owner.listeners.check) // for the status
	}
	mc.withdraw(before)
	return fmt.Sprintf("%.2f ms", float64(mc.turned.Microseconds())/1000), nil
}

// withdraw has a page that gets no connections any more finish what it has.
func (mc maintaining) withdraw(page *generation) {
	if page == nil {
		return
	}
	left, err := page.withdraw(context.WithoutCancel(mc.ctx))
	if err != nil && !errors.Is(err, ErrStopping) {
		mc.warn("%v", err)
	}
	if left > 0 {
		mc.warn("%s for the maintenance page after %s", stillQueued(left), pageSettle)
	}
}

// proveApp waits until all workers of the app that have listeners are ready, and asks each of them for
// its health as often as a new release is asked.
func (mc maintaining) proveApp(ctx context.Context) (string, error) {
	limit := mc.plan.limitOf(stepProve, 0)
	if limit == 0 {
		return "", nil // the release that went live behind the page has no listener
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready within %s", limit))
	defer cancel()
	if err := mc.owner.await(ctx, func() (bool, error) {
		for _, in := range mc.from.instances {
			if len(in.proc.Listen) > 0 && in.state == InstanceBackoff {
				return false, &failure{reason: in.String() + " " + in.reason, log: in.tail.Lines()}
			}
		}
		return mc.from.provenBy(func(p *Process) bool { return len(p.Listen) > 0 }), nil
	}); err != nil {
		return "", err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var asking sync.WaitGroup
	if err := mc.owner.do(func() {
		for _, in := range lanesToAsk(mc.from, nil) {
			asks, name := in.proberOf(), in.proc.Name
			asking.Go(func() { asks.vouch(ctx, func(why string) { fail(&failure{reason: name + ": " + why}) }) })
		}
	}); err != nil {
		return "", err
	}
	asking.Wait()
	return "", context.Cause(ctx)
}

// vouch asks as often as proves a worker, and calls refuse at the first bad answer.
func (p *prober) vouch(ctx context.Context, refuse func(why string)) {
	passed := 0
	p.ask(ctx, p.eagerly(), func(r health.Result) bool {
		if !r.OK {
			refuse(r.Reason)
			return false
		}
		passed++
		return passed < p.policy.HealthyAfter
	})
}
