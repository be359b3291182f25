// Package bundles tests that a release is built once and is the same everywhere: real projects, their real dependencies from the package
// index, real git, pip and uv.
package bundles

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
