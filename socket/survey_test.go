package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAStrangerOnTheAddressIsNamed(t *testing.T) {
	for _, tt := range []struct{ theirs, ours string }{
		{"127.0.0.1", "127.0.0.1"},
		{"0.0.0.0", "127.0.0.1"},
		{"127.0.0.1", "0.0.0.0"},
		{"::1", "::1"},
		{"::", "127.0.0.1"},
		{"0.0.0.0", "::"},
		{"127.0.0.1", ""},
	} {
		t.Run(tt.theirs+" against "+tt.ours, func(t *testing.T) {
			free := freePort(t, tt.theirs)
			pid, stop := startChild(t, nil, nil, "listen", free.String(), "0")
			_, port, _ := net.SplitHostPort(free.String())
			a := address(t, net.JoinHostPort(tt.ours, port))
			for _, kind := range []string{"steer", "shared"} {
				g := newGate(t, Options{Address: a, Gate: kind})
				err := g.Stage(1)
				fails(t, err,
					fmt.Sprintf("is in use by %s (pid %d): stop it, or choose another address", processName(pid), pid))
				if in := (*InUseError)(nil); !errors.As(err, &in) || !slices.Equal(in.PIDs, []int{pid}) {
					t.Errorf("error %#v", err)
				}
			}
			fails(t, a.Probe(nil), "is in use by")
			stop()
			must(t, a.Probe(nil))
			g := newGate(t, Options{Address: a})
			must(t, g.Stage(1))
		})
	}
}

func TestAnotherPortOrAddressIsNotAStranger(t *testing.T) {
	theirs := freePort(t, "127.0.0.1")
	startChild(t, nil, nil, "listen", theirs.String(), "0")
	a := address(t, fmt.Sprintf("127.0.0.2:%d", theirs.tcp.Port()))
	must(t, a.Probe(nil))
	must(t, newGate(t, Options{Address: a}).Stage(1))
	six := address(t, fmt.Sprintf("[::1]:%d", theirs.tcp.Port()))
	must(t, newGate(t, Options{Address: six}).Stage(1))
}

func TestProbeLeavesARunningDaemonAlone(t *testing.T) {
	for _, a := range []Address{freePort(t, "127.0.0.1"), freePort(t, "::"), address(t, "unix:"+t.TempDir()+"/s")} {
		g := newGate(t, Options{Address: a})
		switchOver(t, g, 0, 1)
		before := len(g.Members())
		must(t, a.Probe(func(pid int) bool { return pid == os.Getpid() }))
		fails(t, a.Probe(nil), "is in use by")
		if len(g.Members()) != before {
			t.Error("the group has changed")
		}
		wantVisit(t, g, 1)
	}
}

func TestProbeReportsWhatWouldFailAtStartUp(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Symlink(file, filepath.Join(dir, "link")))
	for text, want := range map[string]string{
		"unix:" + dir + "/missing/s": "does not exist: make it, or name it in RuntimeDirectory=",
		"unix:" + file:               "is not a socket, and is not replaced",
		"unix:" + dir + "/link":      "is not a socket, and is not replaced",
		"unix:" + file + "/s":        "is not a directory",
		"192.0.2.1:8000":             "no interface of this machine has that address",
		"[fe80::1%nosuch0]:8000":     "interface nosuch0",
	} {
		a := address(t, text)
		fails(t, a.Probe(nil), want)
		g := newGate(t, Options{Address: a})
		if err := g.Stage(1); err == nil {
			t.Errorf("%s: start-up would work", text)
		}
	}
	must(t, address(t, "systemd:web").Probe(nil))
	must(t, address(t, "unix:"+dir+"/s").Probe(nil))
	if _, err := os.Lstat(dir + "/s"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left something: %v", err)
	}
}

// earlier starts processes of an earlier daemon; each has a listener of the group and answers with
// its number.
func earlier(t *testing.T, a Address, numbers ...int) (is func(int) bool, stop map[int]func()) {
	t.Helper()
	var pids []int
	stop = map[int]func(){}
	for _, n := range numbers {
		pid, end := startChild(t, nil, nil, "listen", a.String(), strconv.Itoa(n))
		pids, stop[n] = append(pids, pid), end
	}
	return func(pid int) bool { return slices.Contains(pids, pid) }, stop
}

func TestEarlierListenersKeepTheirConnectionsUntilTheCutover(t *testing.T) {
	for _, numbers := range [][]int{{101}, {101, 102, 103}} {
		t.Run(fmt.Sprint(len(numbers)), func(t *testing.T) {
			a := freePort(t, "127.0.0.1")
			is, stop := earlier(t, a, numbers...)
			g := newGate(t, Options{Address: a, Earlier: is})
			must(t, g.Stage(1))
			startWorker(t, g, 1)
			if n := g.Foreign(); n != len(numbers) {
				t.Fatalf("Foreign() = %d", n)
			}
			for range 50 {
				if got, err := visit(g); err != nil || !slices.Contains(numbers, got) {
					t.Fatalf("before the cutover a client reaches %d, %v", got, err)
				}
				wantProbe(t, g, 1)
			}
			must(t, g.Cutover(1))
			for range 20 {
				wantVisit(t, g, 1)
			}
			// They end at any time, and more generations come meanwhile.
			for i, n := range numbers {
				stop[n]()
				for range 20 {
					wantVisit(t, g, 1+i)
				}
				switchOver(t, g, 1+i, 2+i)
				wantVisit(t, g, 2+i)
				if left := g.Foreign(); left != len(numbers)-1-i {
					t.Fatalf("Foreign() = %d after %d have ended", left, i+1)
				}
			}
			if n := len(g.Members()); n > len(numbers)+2 {
				t.Errorf("%d listeners are left for one generation", n)
			}
		})
	}
}

func TestAProbeFindsAStagedGenerationWhenTheEarlierListenerEnds(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	is, stop := earlier(t, a, 101)
	g := newGate(t, Options{Address: a, Earlier: is})
	for gen := 1; gen <= 3; gen++ {
		must(t, g.Stage(gen))
		startWorker(t, g, gen)
	}
	stop[101]()
	for gen := 1; gen <= 3; gen++ {
		wantProbe(t, g, gen)
	}
}

func TestAnUnknownIndexIsFound(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	is, stop := earlier(t, a, 101, 102)
	g := newGate(t, Options{Address: a, Earlier: is})
	must(t, g.Stage(1))
	startWorker(t, g, 1)
	stop[101]()
	wantProbe(t, g, 1)
	must(t, g.Cutover(1))
	stop[102]()
	wantVisit(t, g, 1)
	switchOver(t, g, 1, 2)
	wantVisit(t, g, 2)
}

func TestANewDaemonAdoptsAGroupInItsOrder(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	old := newGate(t, Options{Address: a})
	for gen := 1; gen <= 4; gen++ {
		must(t, old.Stage(gen))
		startWorker(t, old, gen)
	}
	must(t, old.Cutover(4))
	must(t, old.Close(2)) // leaves a spare at its index
	next := newGate(t, Options{Address: a})
	for _, m := range old.Members() {
		dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
		must(t, err)
		must(t, next.Adopt(m.Gen, dup))
	}
	must(t, next.Cutover(4))
	wantVisit(t, next, 4)
	for _, gen := range []int{1, 3, 4} {
		wantProbe(t, next, gen)
	}
	must(t, next.Stage(5))
	startWorker(t, next, 5)
	wantProbe(t, next, 5)
	must(t, next.Close(1))
	wantVisit(t, next, 4)
	wantProbe(t, next, 5)
}

func TestAPartlyAdoptedGroupIsMeasured(t *testing.T) {
	for _, kept := range [][]int{{2}, {3, 1}, {3, 2, 1}} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			a := freePort(t, "127.0.0.1")
			old := newGate(t, Options{Address: a})
			for gen := 1; gen <= 3; gen++ {
				must(t, old.Stage(gen))
				startWorker(t, old, gen)
			}
			must(t, old.Cutover(1))
			next := newGate(t, Options{Address: a, Earlier: func(int) bool { return true }})
			for _, gen := range kept {
				fd, err := old.FD(gen)
				must(t, err)
				dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
				must(t, err)
				must(t, next.Adopt(gen, dup))
			}
			for _, gen := range kept {
				must(t, next.Cutover(gen))
				wantVisit(t, next, gen)
				wantProbe(t, next, kept[0])
			}
		})
	}
}

func TestOnlyOurListenersAreAdopted(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	other := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	must(t, other.Stage(1))
	fd, err := other.FD(1)
	must(t, err)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	fails(t, g.Adopt(1, dup), "it is bound to")
	idle, err := tcpSocketAt(g.options.Address.tcp)
	must(t, err)
	fails(t, g.Adopt(1, idle), "it does not listen")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(pair[1])
	fails(t, g.Adopt(1, pair[0]), "not a TCP socket")
	if err := unix.Close(dup); err == nil {
		t.Error("a refused descriptor is still open")
	}
	must(t, g.Stage(1))
}
