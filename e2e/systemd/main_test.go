package systemd

import (
	"os"
	"testing"

	"superctl/e2e/harness"
)

var run *harness.Run

func TestMain(m *testing.M) {
	harness.Guardian()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if Unavailable() != "" {
		return m.Run() // each test says why it is skipped
	}
	return harness.Main(m, func(r *harness.Run) { run = r })
}

// newSite is NewSite for a parallel test. It skips the test if no sandbox can be booted.
func newSite(t *testing.T, opt Options, releases ...string) *Site {
	t.Helper()
	if why := Unavailable(); why != "" {
		t.Skip(why)
	}
	if !opt.Alone {
		t.Parallel() // mostly it is waiting
	}
	return NewSite(t, run, opt, releases...)
}
