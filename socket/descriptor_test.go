package socket

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAGateLeavesNoDescriptor(t *testing.T) {
	before := descriptors(t)
	t.Run("of all that it had", func(t *testing.T) {
		gates(t, func(t *testing.T, g *Gate) {
			for gen := 1; gen <= 4; gen++ {
				must(t, g.Stage(gen))
				startWorker(t, g, gen)
				wantProbe(t, g, gen)
			}
			must(t, g.Cutover(4))
			must(t, g.Close(1))
			must(t, g.Close(2))
			_, err := g.Private()
			must(t, err)
		})
	})
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

func TestTheDescriptorOfAListenerIsNonblockingAndClosedOnExec(t *testing.T) {
	gates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		startWorker(t, g, 1)
		wantProbe(t, g, 1)
		fd, err := g.FD(1)
		must(t, err)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %x, %v", flags, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %x, %v", flags, err)
		}
	})
}
