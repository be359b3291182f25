package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

var (
	run     *harness.Run
	hosts   *Fleet
	ansible = sync.OnceValues(installAnsible)
)

func TestMain(m *testing.M) {
	harness.Guardian()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if systemd.Unavailable() != "" {
		return m.Run() // each test says why it is skipped
	}
	return harness.Main(booted{m}, func(r *harness.Run) { run = r })
}

// booted runs the tests on hosts that are booted once for all of them.
type booted struct{ m *testing.M }

func (b booted) Run() int {
	binds, err := Binds(run, filepath.Join(run.Dir, "site"))
	if err == nil {
		// The name of the directory names control groups of this machine.
		hosts, err = Boot(filepath.Join(run.Dir, filepath.Base(run.Dir)), 3, binds...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := b.m.Run()
	if err := hosts.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// clean returns the hosts, put back for the test. Tests run one after the other.
func clean(t *testing.T) *Fleet {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	hosts.Reset(t)
	return hosts
}
