package socket

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// passedIn returns a blocking listener, as systemd makes it, and the set that holds it.
func passedIn(t *testing.T, in *Inherited, name, where string) *Inherited {
	t.Helper()
	a := address(t, where)
	var fd int
	var err error
	if a.network == tcp {
		fd, err = listenTCP(a.tcp, 100)
	} else {
		fd, err = listenUnix(a.path, permissions{mode: 0o600, uid: -1, gid: -1}, 100)
	}
	must(t, err)
	must(t, unix.SetNonblock(fd, false))
	if in == nil {
		in = &Inherited{}
		t.Cleanup(func() { must(t, in.Close()) })
	}
	in.named = append(in.named, named{name, fd})
	return in
}

// sharedGates runs a test on each way to have one listener for all generations.
func sharedGates(t *testing.T, test func(t *testing.T, g *Gate)) {
	t.Run("tcp", func(t *testing.T) {
		test(t, newGate(t, Options{Address: freePort(t, "127.0.0.1"), Gate: "shared"}))
	})
	t.Run("dual stack", func(t *testing.T) {
		test(t, newGate(t, Options{Address: freePort(t, ""), Gate: "shared"}))
	})
	t.Run("unix", func(t *testing.T) {
		test(t, newGate(t, Options{Address: address(t, "unix:"+t.TempDir()+"/s"), Gate: "shared"}))
	})
	for _, where := range []string{
		freePort(t, "127.0.0.1").String(), freePort(t, "::").String(),
		"unix:" + t.TempDir() + "/s",
	} {
		t.Run("systemd "+where[:4], func(t *testing.T) {
			in := passedIn(t, nil, "web", where)
			test(t, newGate(t, Options{Address: address(t, "systemd:web"), Inherited: in}))
		})
	}
	for _, public := range []string{"127.0.0.1:8000", "[::1]:8000", "unix:/run/s"} {
		t.Run("private "+public[:4], func(t *testing.T) {
			g := newGate(t, Options{Address: address(t, public), PrivateDir: t.TempDir()})
			test(t, private(t, g))
		})
	}
}

func private(t *testing.T, g *Gate) *Gate {
	t.Helper()
	p, err := g.Private()
	must(t, err)
	if p.Kind() != "private" || p.Name() != g.Name() {
		t.Errorf("kind %s, name %s", p.Kind(), p.Name())
	}
	t.Cleanup(func() {
		for _, m := range p.Members() {
			_ = p.Close(m.Gen)
		}
	})
	return p
}

// client connects to a shared gate as a client that knows its address does.
func client(t *testing.T, g *Gate) (net.Conn, error) {
	t.Helper()
	l := g.mechanism.(*shared).listener
	return net.Dial(l.network, l.targets[0])
}

func TestGenerationsOnASharedListenerHaveOneQueue(t *testing.T) {
	sharedGates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		must(t, g.Cutover(1))
		conn, err := client(t, g)
		must(t, err)
		defer conn.Close()
		if length, _, err := g.Queue(1); length != 1 || err != nil {
			t.Errorf("Queue() = %d, %v", length, err)
		}
		must(t, g.Stage(2))
		must(t, g.Cutover(2))
		if s, err := g.Settle(t.Context(), 1); s.Left != 0 || err != nil {
			t.Errorf("Settle() = %+v, %v", s, err)
		}
		must(t, g.Close(1))
		startWorker(t, g, 2)
		if got, err := answered(conn, nil); got != 2 || err != nil {
			t.Errorf("what was queued reaches %d, %v", got, err)
		}
		wantProbe(t, g, 2)
		if _, err := g.FD(1); err == nil {
			t.Error("generation 1 still has a descriptor")
		}
		if g.Live() != 2 {
			t.Errorf("Live() = %d", g.Live())
		}
	})
}

func TestASharedListenerIsAlwaysNonblocking(t *testing.T) {
	sharedGates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		fd, err := g.FD(1)
		must(t, err)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %x, %v", flags, err)
		}
		must(t, g.Relisten(1))
		if _, limit, err := g.Queue(1); limit != defaultBacklog || err != nil {
			t.Errorf("limit %d, %v", limit, err)
		}
	})
}

func TestAClosedSharedGateCanBeStagedAgain(t *testing.T) {
	sharedGates(t, func(t *testing.T, g *Gate) {
		for range 3 {
			must(t, g.Stage(1))
			must(t, g.Cutover(1))
			must(t, g.Close(1))
			if g.Live() != 0 || len(g.Members()) != 0 {
				t.Errorf("live %d, members %v", g.Live(), g.Members())
			}
		}
	})
}

func TestConnectionsOfASharedListenerAreCounted(t *testing.T) {
	sharedGates(t, func(t *testing.T, g *Gate) {
		must(t, g.Stage(1))
		fd, err := g.FD(1)
		must(t, err)
		conn, err := client(t, g)
		must(t, err)
		defer conn.Close()
		accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		must(t, err)
		defer unix.Close(accepted)
		if n, err := g.Connections(1, []int{os.Getpid()}); n != 1 || err != nil {
			t.Errorf("Connections() = %d, %v", n, err)
		}
	})
}

func TestASharedGateIsAdopted(t *testing.T) {
	sharedGates(t, func(t *testing.T, old *Gate) {
		must(t, old.Stage(1))
		must(t, old.Stage(2))
		next, err := New(old.options)
		must(t, err)
		for _, m := range old.Members() {
			dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
			must(t, err)
			if next.Kind() != "shared" {
				must(t, unix.Close(dup))
				return
			}
			must(t, next.Adopt(m.Gen, dup))
		}
		startWorker(t, next, 1)
		wantProbe(t, next, 1)
		must(t, next.Close(1))
		must(t, next.Close(2))
	})
}

func TestAPrivateGateHasTheSameFamilyAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	in := passedIn(t, nil, "six", freePort(t, "::1").String())
	passedIn(t, in, "path", "unix:"+t.TempDir()+"/s")
	for public, want := range map[string]string{
		"0.0.0.0:80": "127.0.0.1:", "[::]:80": "[::1]:", "unix:/run/s": "unix:" + dir + "/private-",
		"systemd:six": "[::1]:", "systemd:path": "unix:" + dir + "/private-",
	} {
		g := newGate(t, Options{Address: address(t, public), PrivateDir: dir, Inherited: in})
		p := private(t, g)
		must(t, p.Stage(1))
		if !strings.HasPrefix(p.Address(), want) {
			t.Errorf("private to %s: %s", public, p.Address())
		}
		if path, ok := strings.CutPrefix(p.Address(), "unix:"); ok {
			st, err := os.Stat(filepath.Dir(path))
			must(t, err)
			if st.Mode().Perm() != 0o700 {
				t.Errorf("mode %v", st.Mode())
			}
		}
		must(t, p.Close(1))
	}
	if left := names(t, dir+"/x"); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestTwoPrivateGatesHaveTwoAddresses(t *testing.T) {
	g := newGate(t, Options{Address: freePort(t, "127.0.0.1")})
	one, two := private(t, g), private(t, g)
	must(t, one.Stage(1))
	must(t, two.Stage(1))
	if one.Address() == two.Address() {
		t.Error(one.Address())
	}
}

func TestDescriptorsOfOneNameDifferByAddress(t *testing.T) {
	four, six, path := freePort(t, "127.0.0.1"), freePort(t, "::1"), "unix:"+t.TempDir()+"/s"
	in := passedIn(t, nil, "web", four.String())
	passedIn(t, in, "web", six.String())
	passedIn(t, in, "web", path)
	passedIn(t, in, "other", freePort(t, "127.0.0.1").String())
	for _, where := range []string{four.String(), six.String(), path} {
		g := newGate(t, Options{Address: address(t, "systemd:web:"+where), Inherited: in})
		must(t, g.Stage(1))
		fd, err := g.FD(1)
		must(t, err)
		if boundText(fd) != where {
			t.Errorf("%s is bound to %s", where, boundText(fd))
		}
	}
	for text, want := range map[string]string{
		"systemd:web": "systemd passed 3 sockets named \"web\": write which one, systemd:web:" +
			four.String() + " or systemd:web:",
		"systemd:web:127.0.0.1:1":   "and none for 127.0.0.1:1",
		"systemd:api":               `systemd passed no socket named "api", only ["web" "web" "web" "other"]`,
		"systemd:web:unix:/nowhere": "and none for unix:/nowhere",
	} {
		_, err := New(Options{Name: "web", Address: address(t, text), Inherited: in})
		fails(t, err, want)
	}
	_, err := New(Options{Name: "web", Address: address(t, "systemd:web")})
	fails(t, err, "systemd passed no socket: is there a socket unit with FileDescriptorName=web")
}

func TestADescriptorThatDoesNotListenIsRefused(t *testing.T) {
	fd, err := tcpSocketAt(netip.MustParseAddrPort("127.0.0.1:0"))
	must(t, err)
	in := &Inherited{named: []named{{"web", fd}}}
	defer in.Close()
	_, err = New(Options{Name: "web", Address: address(t, "systemd:web"), Inherited: in})
	fails(t, err, "the unit needs ListenStream= and Accept=no")
}

func TestADaemonStartedBySystemdFindsItsSocketByName(t *testing.T) {
	a := freePort(t, "127.0.0.1")
	in := passedIn(t, nil, "web", a.String())
	passedIn(t, in, "store", "unix:"+t.TempDir()+"/s")
	files := []*os.File{rawFile(t, in.named[1].fd), rawFile(t, in.named[0].fd)}
	startChild(t, files, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=store:web"}, "inherit", "systemd:web", "9")
	conn, err := net.Dial("tcp", a.String())
	if got, err := answered(conn, err); got != 9 || err != nil {
		t.Errorf("a client reaches %d, %v", got, err)
	}
}

func TestTakenDescriptorsAreTheCallers(t *testing.T) {
	in := passedIn(t, nil, "web", freePort(t, "127.0.0.1").String())
	passedIn(t, in, "web", freePort(t, "127.0.0.1").String())
	passedIn(t, in, "log", "unix:"+t.TempDir()+"/s")
	fds := in.Take("web")
	if len(fds) != 2 || strings.Join(in.Names(), " ") != "log" || in.Take("web") != nil {
		t.Errorf("took %v, left %v", fds, in.Names())
	}
	must(t, in.Close())
	for _, fd := range fds {
		must(t, unix.Close(fd))
	}
	if (*Inherited)(nil).Take("web") != nil {
		t.Error("an empty set gave something")
	}
}

func TestTheGateIsChosenByTheAddress(t *testing.T) {
	path := "unix:" + t.TempDir() + "/s"
	in := passedIn(t, nil, "web", freePort(t, "127.0.0.1").String())
	for _, tt := range []struct{ text, gate, kind, err string }{
		{"127.0.0.1:8000", "", "steer", ""},
		{"127.0.0.1:8000", "auto", "steer", ""},
		{"127.0.0.1:8000", "steer", "steer", ""},
		{"127.0.0.1:8000", "shared", "shared", ""},
		{path, "auto", "rename", ""},
		{path, "rename", "rename", ""},
		{path, "shared", "shared", ""},
		{"systemd:web", "auto", "shared", ""},
		{"systemd:web", "shared", "shared", ""},
		{"systemd:web", "steer", "", `gate "steer" is for TCP`},
		{path, "steer", "", `gate "steer" is for TCP`},
		{"127.0.0.1:8000", "rename", "", `gate "rename" is for unix sockets`},
		{"127.0.0.1:8000", "magic", "", `unknown gate "magic": use auto, steer, rename or shared`},
	} {
		g, err := New(Options{Name: "web", Address: address(t, tt.text), Gate: tt.gate, Inherited: in})
		if tt.err != "" {
			fails(t, err, tt.err)
			continue
		}
		must(t, err)
		if g.Kind() != tt.kind || g.Reason() == "" || g.Address() != tt.text {
			t.Errorf("%+v: kind %s, reason %q, address %s", tt, g.Kind(), g.Reason(), g.Address())
		}
	}
}
