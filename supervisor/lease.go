package supervisor

import (
	"context"
	"errors"
	"time"

	"superctl/api"
)

// Lock holds a lease on the app until ctx ends: meanwhile only changes of its run are accepted. It
// calls locked when it has the lease. The error is a *BusyError if another client has one, or changes
// something, and otherwise a *RefusedError. A lease is not in the state file: it ends with the
// daemon, and its holder sees the connection end.
func (s *Supervisor) Lock(ctx context.Context, l api.Lock, locked func()) error {
	if err := l.Validate(); err != nil {
		return &RefusedError{Usage: true, Err: err}
	}
	lease := &api.LockStatus{Lock: l, Since: time.Now()}
	if err := s.try(func() error { return s.admission.lock(lease) }); err != nil {
		return orRefused(err)
	}
	locked()
	defer func() { _ = s.do(s.admission.unlock) }()
	select {
	case <-ctx.Done():
		return nil
	case <-s.done:
		return &RefusedError{Err: ErrStopping}
	}
}

// orRefused returns an error as one that a client can tell from others.
func orRefused(err error) error {
	if errors.Is(err, ErrStopping) {
		return &RefusedError{Err: err}
	}
	return err
}

// lock makes a lease the one in force.
func (ad *admission) lock(lease *api.LockStatus) error {
	switch c := ad.owner.change; {
	case ad.owner.stopping || ad.owner.leaving:
		return ErrStopping
	case ad.lease != nil:
		return &BusyError{Lock: ad.lease}
	case c != nil && c.req.Kind != start && !c.req.Recycle && c.req.Run != lease.Run:
		return &BusyError{Changing: *ad.owner.changing()}
	}
	ad.lease, ad.leaseEnded = lease, make(chan struct{})
	return nil
}

// unlock ends the lease in force.
func (ad *admission) unlock() {
	ad.lease = nil
	close(ad.leaseEnded)
}

// refuseLocked says why a change of a run, or of none, is not accepted while the app is locked.
func (ad *admission) refuseLocked(run string) error {
	if ad.lease == nil || ad.lease.Run == run {
		return nil
	}
	return &BusyError{Lock: ad.lease}
}
