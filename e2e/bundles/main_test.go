// Package bundles tests that a release is built once and is the same everywhere: with real
// projects, their real dependencies from the package index, and real git, pip and uv.
package bundles

import (
	"os"
	"testing"

	"superctl/e2e/harness"
)

var run *harness.Run

func TestMain(m *testing.M) {
	harness.Guardian()
	os.Exit(harness.Main(m, func(r *harness.Run) { run = r }))
}
