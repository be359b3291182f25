package supervisor

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// startAlarm calls ring once the clock of the machine shows a time, and when the clock is set before
// that. A timer of Go would measure the time that passes, and would be wrong after either, or after
// the machine has slept. stop ends it; ring may still be under way then.
func startAlarm(at time.Time, ring func()) (stop func()) {
	f, err := openAlarm(at)
	if err != nil { // such as no free descriptor
		timer := time.AfterFunc(time.Until(at), ring)
		return func() { timer.Stop() }
	}
	var once sync.Once
	shut := func() { once.Do(func() { _ = f.Close() }) }
	go func() {
		defer shut()
		if _, err := f.Read(make([]byte, 8)); !errors.Is(err, os.ErrClosed) {
			ring() // the time has come, or ECANCELED: the clock was set
		}
	}()
	return shut
}

// openAlarm returns what can be read when the clock shows a time, or was set (timerfd_create(2)).
func openAlarm(at time.Time) (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at.UnixNano())}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "alarm"), nil
}
