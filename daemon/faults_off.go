//go:build !faults

package daemon

// faults is nothing in a real build; with the tag `faults` tests can end the daemon at any step.
func faults() func(point string) { return nil }
