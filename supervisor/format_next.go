//go:build nextformat

package supervisor

// stateVersion is one more than the real one, for the test that daemons on either side of a format
// change understand each other.
const stateVersion = 3

// stateAddition is a field that today's daemon does not know.
type stateAddition struct {
	Addition string `json:"addition"`
}
