package api

import (
	"strings"
	"testing"
	"time"
)

func TestAnOldLockAndAnOldChangeHaveTheirDate(t *testing.T) {
	const want = "since 2026-11-28 23:04:05 UTC"
	since := time.Date(2026, 11, 28, 23, 4, 5, 0, time.UTC)
	lock := &LockStatus{Since: since}
	for _, got := range []string{lock.String(), (&BusyError{Lock: lock}).Error(), (&BusyError{Changing: ChangeStatus{Since: since}}).Error()} {
		if !strings.Contains(got, want) {
			t.Errorf("%q has no %q", got, want)
		}
	}
}
