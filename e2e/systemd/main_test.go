package systemd

import (
	"fmt"
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
	r, err := harness.NewRun()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	run = r
	code := m.Run()
	if err := r.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// newSite is NewSite, beside other tests, where a sandbox can be booted.
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
