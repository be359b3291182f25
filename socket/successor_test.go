package socket

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAListenerThatWasGivenAwayIsGivenBack: an eject gives the app's listener to root, so that
// systemd can bind next to it. If it is killed then, the next generation has no listener until the
// listener is given back, and the error says how.
func TestAListenerThatWasGivenAwayIsGivenBack(t *testing.T) {
	needRoot(t)
	const stranger = 1
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	switchOver(t, g, 0, 1)
	live := g.Members()[0].FD
	number, err := inode(live)
	must(t, err)
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	defer unix.Close(self)
	taken, err := Take(self, live, uint64(number))
	must(t, err)
	must(t, taken.GiveTo(stranger))

	if err := g.Stage(2); err == nil || !strings.Contains(err.Error(), "run sudo superctl eject --undo") {
		t.Fatalf("next to a listener that was given away: %v", err)
	}
	must(t, taken.GiveBack(self, []int{0, live, 1 << 20}, os.Geteuid()))
	must(t, taken.Close())
	switchOver(t, g, 1, 2)
	wantVisit(t, g, 2)
}
