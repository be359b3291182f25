//go:build !faults

package eject

// fault does nothing in a normal build. With the build tag `faults`, tests can kill or interrupt the
// command at any step.
func fault(string) {}
