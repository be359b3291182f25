//go:build !nextformat

package supervisor

// stateVersion is the format of the state file.
const stateVersion = 2

// stateAddition is where the test of a format change adds a field.
type stateAddition struct{} //nolint:unused // it has a field with the tag nextformat
