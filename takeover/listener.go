package takeover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"superctl/socket"
	"superctl/takeover/notice"
	"superctl/takeover/running"
)

// take duplicates the listeners of the old server, which it does not notice.
func (t *takeover) take() error {
	if t.Server == nil || !t.Server.Running() || t.Move != nil {
		return nil
	}
	for _, l := range t.Server.Listeners {
		pidfd, err := unix.PidfdOpen(l.PID, 0)
		if err != nil {
			return fmt.Errorf("open process %d: %w", l.PID, err)
		}
		taken, err := socket.Take(pidfd, l.FD, l.Inode)
		if err := errors.Join(err, unix.Close(pidfd)); err != nil {
			return fmt.Errorf("%s of process %d: %w", l, l.PID, err)
		}
		t.taken = append(t.taken, taken)
		if err := taken.Shareable(); err != nil {
			return err
		}
	}
	return nil
}

// CheckListeners returns why nothing can be bound next to the listeners of a server, or nil.
func CheckListeners(s *running.Server) error {
	t := &takeover{Options: Options{Server: s}}
	err := t.take()
	if also := t.release(); also != nil {
		return also
	}
	if err != nil {
		return &RefusedError{Why: err.Error()}
	}
	return nil
}

// release closes the duplicates.
func (t *takeover) release() (err error) {
	for _, l := range t.taken {
		err = errors.Join(err, l.Close())
	}
	return err
}

// share lets the daemon bind next to the listeners, and tells it which they are.
func (t *takeover) share() error {
	n := notice.Notice{
		Server: t.Server.String(), PID: t.Server.Master.PID, Start: t.Server.Master.Start, Elsewhere: t.Move != nil,
	}
	for _, l := range t.taken {
		if err := l.Share(t.UID); err != nil {
			return err
		}
		n.Cookies = append(n.Cookies, l.Cookie())
	}
	return notice.Write(t.App, n)
}

// restore sends all new connections to the old server.
func (t *takeover) restore() (err error) {
	for _, l := range t.taken {
		err = errors.Join(err, l.Restore())
	}
	return err
}

// settleTime limits how long the old server may need to accept what waits in its queue.
const settleTime = time.Minute

// settle waits until no connection can arrive at the old server any more, and none waits.
func (t *takeover) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for _, l := range t.taken {
		s, err := l.Settle(ctx)
		if err != nil {
			return err
		}
		t.out.Settled += s.Waited
		if s.Left > 0 {
			return fmt.Errorf("%d connections still wait for the old server on %s after %s", s.Left, l, settleTime)
		}
	}
	return nil
}
