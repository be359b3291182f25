package socket

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// killed is a group whose daemon was killed: listeners that only the daemon held are gone, and some
// are held by workers only.
type killed struct {
	next        *Gate
	left        []int // generations whose listeners were adopted
	foreign     int
	earlierLive int // index to which the daemon sent connections
}

// kill makes a group of size listeners and kills its daemon; random decides what survives.
func kill(t *testing.T, host string, size int, random *rand.Rand) killed {
	t.Helper()
	a := freePort(t, host)
	old, err := New(Options{Name: "web", Address: a})
	must(t, err)
	for gen := 1; gen <= size; gen++ {
		must(t, old.Stage(gen))
	}
	live := 1 + random.IntN(size)
	must(t, old.Cutover(live))
	k := killed{next: newGate(t, Options{Address: a, Earlier: func(int) bool { return true }})}
	var fds []int
	for i, m := range old.Members() {
		fate := random.IntN(4)
		if m.Gen == live {
			k.earlierLive, fate = i, 3
		}
		switch fate {
		case 0: // only the daemon holds it
		case 1: // only a worker holds it, out of our reach
			startWorker(t, old, m.Gen)
			k.foreign++
		default:
			startWorker(t, old, m.Gen)
			dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
			must(t, err)
			must(t, k.next.Adopt(m.Gen, dup))
			k.left = append(k.left, m.Gen)
		}
		fds = append(fds, m.FD)
	}
	random.Shuffle(len(fds), func(i, j int) { fds[i], fds[j] = fds[j], fds[i] })
	for _, fd := range fds {
		must(t, unix.Close(fd))
	}
	return k
}

func TestTheOrderOfAnAdoptedGroupIsMeasured(t *testing.T) {
	for seed := range uint64(40) {
		host := tcpHosts[int(seed)%len(tcpHosts)]
		t.Run(fmt.Sprintf("%s seed %d", host, seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			k := kill(t, host, 1+random.IntN(7), random)
			must(t, k.next.Locate([]int{k.earlierLive}))
			if n := k.next.Foreign(); n != k.foreign {
				t.Errorf("%d foreign listeners, want %d", n, k.foreign)
			}
			for _, gen := range k.left {
				wantProbe(t, k.next, gen)
				must(t, k.next.Cutover(gen))
				for range 5 {
					wantVisit(t, k.next, gen)
				}
			}
			switchOver(t, k.next, k.left[len(k.left)-1], 100)
			for range 5 {
				wantVisit(t, k.next, 100)
			}
		})
	}
}

// The first index may be a spare's, which no worker accepts from.
func TestClientsReachTheNewestOfAnAdoptedGroupWithoutALiveOne(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	old := newGate(t, Options{Address: a})
	for gen := 1; gen <= 3; gen++ {
		must(t, old.Stage(gen))
		startWorker(t, old, gen)
	}
	must(t, old.Cutover(1))
	must(t, old.Close(1))
	if first := old.Members()[0]; first.Gen != 0 {
		t.Fatalf("the first index is generation %d's, want a spare", first.Gen)
	}
	next := newGate(t, Options{Address: a})
	for _, m := range old.Members() {
		dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
		must(t, err)
		must(t, next.Adopt(m.Gen, dup))
	}
	must(t, next.Locate(nil))
	wantVisit(t, next, 3)
}

func TestAMeasurementDisturbsNoConnection(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	old := newGate(t, Options{Address: a})
	for gen := 1; gen <= 3; gen++ {
		must(t, old.Stage(gen))
		startWorker(t, old, gen)
	}
	must(t, old.Cutover(2))
	next := newGate(t, Options{Address: a})
	for _, m := range old.Members() {
		dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
		must(t, err)
		must(t, next.Adopt(m.Gen, dup))
	}
	measured := make(chan error, 1)
	go func() {
		for range 20 {
			if err := next.Locate([]int{1}); err != nil {
				measured <- err
				return
			}
		}
		measured <- nil
	}()
	for {
		if got, err := visit(old); err != nil || got != 2 {
			t.Fatalf("during the measurement a client reaches generation %d, %v", got, err)
		}
		select {
		case err := <-measured:
			must(t, err)
			wantVisit(t, next, 2)
			return
		default:
		}
	}
}

func TestAStrangerInAGroupIsNamedAndTheAppServes(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	old := newGate(t, Options{Address: a})
	must(t, old.Stage(1))
	startWorker(t, old, 1)
	must(t, old.Cutover(1))
	pid, _ := startChild(t, nil, nil, "listen", a.String(), "7")
	fd, err := old.FD(1)
	must(t, err)
	next := newGate(t, Options{Address: a, Earlier: func(int) bool { return false }})
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	must(t, next.Adopt(1, dup))
	fails(t, next.Locate([]int{0}), fmt.Sprintf("(pid %d)", pid))
	must(t, next.Cutover(1))
	for range 20 {
		wantVisit(t, next, 1)
	}
	if !slices.ContainsFunc(next.Members(), func(m Member) bool { return m.Gen == 1 }) {
		t.Error("its own listener is gone")
	}
}
