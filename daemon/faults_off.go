//go:build !faults

package daemon

// faults returns nil in a normal build. With the build tag `faults`, tests can crash the daemon at
// any step.
func faults() func(point string) { return nil }
