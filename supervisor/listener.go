package supervisor

import (
	"cmp"
	"context"
	"net"
	"net/netip"
)

// listener is a handle to one listening socket: that of a generation, or of one instance. It knows
// its gate, so its users need not look up what a number means.
type listener struct {
	gate   Gate
	number int // under which the gate knows it
}

// held reports whether this daemon has the listener.
func (l listener) held() bool { return l.number != 0 }

// elsewhere reports whether the listener has another address than gate, because an earlier config
// had it there.
func (l listener) elsewhere(gate Gate) bool {
	return l.gate.Address() != "" && l.gate.Address() != gate.Address()
}

// fd is the descriptor for a worker to inherit. The gate owns it.
func (l listener) fd() (int, error) { return l.gate.FD(l.number) }

// dial connects to the listener and to no other; see Gate.Dial.
func (l listener) dial(ctx context.Context) (net.Conn, error) { return l.gate.Dial(ctx, l.number) }

// relisten undoes what servers do to a listener that they inherit.
func (l listener) relisten() error { return l.gate.Relisten(l.number) }

// queue is how many connections wait in its accept queue, and how many fit.
func (l listener) queue() (length, limit int, err error) { return l.gate.Queue(l.number) }

// connections is how many of its established connections the processes hold.
func (l listener) connections(pids []int) (int, error) { return l.gate.Connections(l.number, pids) }

// unanswered is how many of those wait for a response; see Gate.Unanswered.
func (l listener) unanswered(pids []int) (int, error) { return l.gate.Unanswered(l.number, pids) }

// settle waits until nothing is left in its accept queue. There is no wait for the queue of a
// shared listener, which serves on, or of a live one that the config has lost, which gets all the
// connections to it.
func (l listener) settle(ctx context.Context) (left int, err error) {
	if l.shared() || l.gate.Live() == l.number {
		return 0, nil
	}
	settled, err := l.gate.Settle(ctx, l.number)
	return settled.Left, err
}

// verify finds out whether clients reach it, if they should.
func (l listener) verify(ctx context.Context) error { return l.gate.Verify(ctx, l.number) }

// canary sends a part of the new connections to it; see Gate.Canary.
func (l listener) canary(share int, networks []netip.Prefix) error {
	return l.gate.Canary(l.number, share, networks)
}

// close gives it up.
func (l listener) close() error { return l.gate.Close(l.number) }

// steered reports whether its gate can send each new connection where it is told to.
func (l listener) steered() bool { return steers(l.gate) }

// shared reports whether all generations accept from it.
func (l listener) shared() bool { return sharesQueue(l.gate) }

// steers reports whether a gate can send each new connection where it is told to.
func steers(gate Gate) bool { return gate != nil && gate.Kind() == kindSteer }

// sharesQueue reports whether a gate has one queue for all generations.
func sharesQueue(gate Gate) bool { return gate != nil && gate.Kind() == kindShared }

// The kinds of gates that can do more, or less, than turn from one generation to another.
const (
	kindSteer  = "steer"
	kindShared = "shared"
)

// numbersOf is what the gate of listeners calls them.
func numbersOf(list []listener) []int {
	numbers := make([]int, len(list))
	for i, l := range list {
		numbers[i] = l.number
	}
	return numbers
}

// compare orders listeners by name, and those of one gate as they were made.
func (l listener) compare(other listener) int {
	return cmp.Or(cmp.Compare(l.gate.Name(), other.gate.Name()), cmp.Compare(l.number, other.number))
}
