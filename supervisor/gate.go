package supervisor

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Gate decides which generation a new connection to one listener of the app reaches (DESIGN 4).
// Package socket implements it; the supervisor only says when. Its methods are called by one
// goroutine at a time, except Dial, Settle, Queue, Connections and Unanswered, which may run
// concurrently with each other and with the rest.
type Gate interface {
	// Name is the listener's name in the config.
	Name() string
	// Address is the public address as the config writes it.
	Address() string
	// Kind is "steer", "rename", "shared" or "private".
	Kind() string

	// Stage gives generation gen its own listener, bound and listening but without traffic.
	Stage(gen int) error
	// FD is the descriptor of gen's listener, for its workers to inherit. The gate owns it; it
	// stays open until Close(gen).
	FD(gen int) (int, error)
	// Dial connects to generation gen and to no other: past the public for rename, through the
	// front door for steer. On a shared gate any generation may answer.
	Dial(ctx context.Context, gen int) (net.Conn, error)
	// Relisten undoes what servers do to a listener that they inherit: it calls listen again with
	// our backlog, because gunicorn and others overwrite it, and sets O_NONBLOCK again if it was
	// lost (reported as an error once it is mended).
	Relisten(gen int) error

	// Cutover sends every new connection to gen, in one instant.
	Cutover(gen int) error
	// Spread sends each new connection to one of several, by chance and evenly. Only a steer gate
	// can do that with more than one.
	Spread(gens []int) error
	// Canary sends a part of the new connections to gen, which must not be the live one: those from
	// the networks, and of the rest share in 10,000. A share of 0 without networks ends it, and so
	// does a Cutover to gen. Only a gate of the kind steer can.
	Canary(gen, share int, networks []netip.Prefix) error
	// Settle waits until gen, which must not be the live one, has nothing left in its accept queue
	// and no half-open handshake from before the cutover, or until ctx ends. It reports what it
	// saw.
	Settle(ctx context.Context, gen int) (Settled, error)
	// Close gives up gen's listener. Closing the live generation's is how a gate is shut.
	Close(gen int) error

	// Members are the descriptors that the next daemon needs to go on with this gate, in the order
	// in which it must adopt them.
	Members() []Member
	// Adopt takes over a listener that an earlier daemon bound; the descriptor is the gate's from
	// then on. Listeners are adopted before anything is staged.
	Adopt(gen, fd int) error

	// Locate finds out how the kernel has ordered what was adopted, before anything else is done
	// with it. Until a cutover connections go where the earlier daemon has sent them: to the places
	// sent of its own order. The error names what else listens on the address, or says that a place
	// is not known; a Cutover to that place fails then.
	Locate(sent []int) error
	// Verify finds out whether gen's listener is reached, and, when gen is live, whether clients
	// reach it; what is misplaced is set right. The error says that others get its connections. It
	// may run concurrently with the rest, as the next three may.
	Verify(ctx context.Context, gen int) error
	// Watch calls changed, at its start and after each change that others have made to a listener
	// or its path, until ctx ends.
	Watch(ctx context.Context, changed func()) error
	// Mend sets right what others have changed.
	Mend() Mended
	// Strangers says which other processes listen on the address, a sentence each.
	Strangers() []string

	// Live is the generation that new connections reach, or 0.
	Live() int
	// Queue is how many connections wait in gen's accept queue, and how many fit.
	Queue(gen int) (length, limit int, err error)
	// Connections is how many established connections of this listener the processes pids hold.
	Connections(gen int, pids []int) (int, error)
	// Unanswered is how many of them wait for their first response, or have sent what the server has
	// not read yet. Where the kernel does not tell, it is all.
	Unanswered(gen int, pids []int) (int, error)

	// Private is a gate of the same name and socket family on an address that only this daemon
	// knows: for a preflight and for `check RELEASE`.
	Private() (Gate, error)
}

// Member is a listener that the next daemon can adopt.
type Member struct {
	Gen int // 0 = a spare, which only keeps a place
	FD  int
}

// Settled tells what waiting after a cutover saw.
type Settled struct {
	Waited time.Duration // from the call until the queue stayed empty
	Left   int           // connections that were still queued when the time was up; 0 is what is meant
}
