// Package site tests the promises of superctl to the users of a site: real servers, real clients,
// real kills.
package site

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
	// A daemon that can be killed at any step; without SUPERCTL_FAULT it is a normal one.
	if err := os.Setenv("SUPERCTL_E2E_TAGS", "faults"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return harness.Main(m, func(r *harness.Run) { run = r })
}
