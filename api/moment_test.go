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

func TestAStartThatHasNotFoundItsReleaseNamesNone(t *testing.T) {
	busy := BusyError{Changing: ChangeStatus{Kind: "start", Who: "the daemon", Step: "resolve"}}
	const want = "another change is in progress: start by the daemon, resolve since "
	if got := busy.Error(); !strings.HasPrefix(got, want) {
		t.Errorf("%q", got)
	}
	busy.Changing.Release = "r42"
	if got := busy.Changing.What(); got != "start to r42" {
		t.Errorf("%q", got)
	}
}
