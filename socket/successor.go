package socket

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Successor is a listener that another process has bound next to the only listener of an app of
// superctl, in order to take its place.
type Successor struct{ gate *steer }

// The generations of the gate of a successor.
const (
	ofApp       = 1
	ofSuccessor = 2
)

// GiveTo lets sockets of the user uid be bound next to a listener of superctl. Sockets of its user
// before can no longer be bound there. It takes CAP_CHOWN.
func (t *Taken) GiveTo(uid int) error {
	if err := unix.Fchown(t.fd, uid, -1); err != nil {
		return fmt.Errorf("give %s to user %d: %w", t.at, uid, err)
	}
	return nil
}

// Withdraw ends a spare: a listener of superctl that only reserves an index in the group. With one
// other member the kernel sends everything to that one, whatever the filter says.
func (t *Taken) Withdraw() error {
	if err := unix.Shutdown(t.fd, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("shut down a spare listener: %w", err)
	}
	return nil
}

// Successor returns the listener that was bound next to this one, as the only other of the address.
func (t *Taken) Successor() (*Successor, error) {
	own, err := inode(t.fd)
	if err != nil {
		return nil, err
	}
	list, err := overlapping(t.at)
	if err != nil {
		return nil, err
	}
	// The kernel appends a listener to the group when it begins to listen, so the app's is the first.
	s := newSteer(&Options{Address: Address{text: t.String()}}, t.at)
	s.group = group{{gen: ofApp, fd: t.fd, inode: own}}
	s.live = ofApp
	for _, l := range list {
		if l.inode != own && same(l, t.at) {
			s.group = append(s.group, member{gen: ofSuccessor, fd: -1, inode: l.inode, stranger: true})
		}
	}
	if len(s.group) != 2 || len(list) != 2 {
		return nil, fmt.Errorf("%d sockets listen on %s instead of superctl's and the new one", len(list), t.at)
	}
	return &Successor{s}, nil
}

// Dial connects to the successor; other new connections reach the app.
func (n *Successor) Dial(ctx context.Context) (net.Conn, error) { return n.gate.Dial(ctx, ofSuccessor) }

// Turn sends all new connections to the successor.
func (n *Successor) Turn() error { return n.turn(ofSuccessor) }

// TurnBack sends all new connections to the app.
func (n *Successor) TurnBack() error { return n.turn(ofApp) }

func (n *Successor) turn(gen int) error {
	n.gate.mu.Lock()
	defer n.gate.mu.Unlock()
	n.gate.recount()
	if n.gate.group.find(gen) < 0 {
		return errors.New("the listener is gone")
	}
	n.gate.live = gen
	return n.gate.attach()
}
