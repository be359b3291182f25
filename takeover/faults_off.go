//go:build !faults

package takeover

// fault does nothing in a normal build. With the build tag `faults`, tests can kill the command or
// the daemon at any step.
func (t *takeover) fault(string) {}
