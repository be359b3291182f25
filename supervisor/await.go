package supervisor

import (
	"context"
	"errors"
	"time"

	"superctl/api"
)

// await is admit for a request that may wait until another change, or the lock of a run, ends. When
// the time is over, it returns the *BusyError.
func (ad *admission) await(ctx context.Context, req Request, emit func(Event)) (c, busy *change, err error) {
	if req.Wait <= 0 {
		return ad.admit(ctx, req)
	}
	ctx, cancel := context.WithTimeout(ctx, req.Wait)
	defer cancel()
	began, told := time.Now(), false
	for {
		c, busy, err = ad.admit(ctx, req)
		var other *BusyError
		if !errors.As(err, &other) {
			if told {
				emit(Event{Type: "end", Step: api.StepWait, Seconds: time.Since(began).Seconds()})
			}
			return c, busy, err
		}
		if !told {
			told = true
			emit(Event{Type: "begin", Step: api.StepWait, Limit: req.Wait.Seconds()})
		}
		emit(Event{Type: "progress", Step: api.StepWait, Detail: other.Error()})
		select {
		case <-ad.free():
		case <-ad.done:
		case <-ctx.Done():
			return nil, nil, err
		}
	}
}

// free returns a channel that is closed when the change in progress and the lock have ended.
func (ad *admission) free() (freed <-chan struct{}) {
	none := make(chan struct{})
	close(none)
	freed = none
	_ = ad.do(func() {
		switch {
		case ad.lease != nil:
			freed = ad.leaseEnded
		case ad.owner.change != nil:
			freed = ad.owner.change.done
		}
	})
	return freed
}
