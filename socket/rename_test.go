package socket

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func unixGate(t *testing.T, o Options) (*Gate, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	o.Address = address(t, "unix:"+path)
	return newGate(t, o), path
}

func names(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestTheFilesOfAUnixGateComeAndGoWithItsGenerations(t *testing.T) {
	g, path := unixGate(t, Options{})
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return g.Stage(1) }, "s.g1"},
		{func() error { return g.Cutover(1) }, "s s.g1"},
		{func() error { return g.Cutover(1) }, "s s.g1"},
		{func() error { return g.Stage(2) }, "s s.g1 s.g2"},
		{func() error { return g.Cutover(2) }, "s s.g1 s.g2"},
		{func() error { return g.Close(1) }, "s s.g2"},
		{func() error { return g.Close(2) }, ""},
	} {
		must(t, step.do())
		if got := names(t, path); got != step.want {
			t.Fatalf("files %q, want %q", got, step.want)
		}
	}
}

func TestModeOwnerAndGroupAreSetBeforeTheSocketIsPublic(t *testing.T) {
	gid := strconv.Itoa(os.Getgid())
	g, path := unixGate(t, Options{Mode: 0o640, Owner: strconv.Itoa(os.Getuid()), Group: gid})
	must(t, g.Stage(1))
	must(t, g.Cutover(1))
	for _, p := range []string{path, path + ".g1"} {
		st, err := os.Lstat(p)
		must(t, err)
		if st.Mode() != fs.ModeSocket|0o640 {
			t.Errorf("%s has mode %v", p, st.Mode())
		}
	}
	if os.Getuid() != 0 {
		return
	}
	g, path = unixGate(t, Options{Owner: "nobody", Group: "1"})
	must(t, g.Stage(1))
	must(t, g.Cutover(1))
	st, err := os.Lstat(path)
	must(t, err)
	if owner := st.Sys().(*syscall.Stat_t); owner.Uid == 0 || owner.Gid != 1 || st.Mode().Perm() != 0o666 {
		t.Errorf("owner %d, group %d, mode %v", owner.Uid, owner.Gid, st.Mode())
	}
}

func TestAMissingUserOrGroupIsAnError(t *testing.T) {
	a := address(t, "unix:"+t.TempDir()+"/s")
	_, err := New(Options{Name: "web", Address: a, Owner: "nosuchuser"})
	fails(t, err, `listener web: owner "nosuchuser": no such user`)
	_, err = New(Options{Name: "web", Address: a, Group: "nosuchgroup"})
	fails(t, err, `group "nosuchgroup": no such group`)
}

func TestAFileThatIsNotASocketIsNeverReplaced(t *testing.T) {
	for _, put := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, []byte("keep"), 0o600) },
		func(path string) error { return os.Mkdir(path, 0o700) },
		func(path string) error { return os.Symlink("/nowhere", path) },
	} {
		for _, suffix := range []string{"", ".g1"} {
			for _, kind := range []string{"rename", "shared"} {
				if kind == "shared" && suffix != "" {
					suffix = ".g0"
				}
				g, path := unixGate(t, Options{Gate: kind})
				must(t, put(path+suffix))
				fails(t, g.Stage(1), "is not a socket, and is not replaced")
				if _, err := os.Lstat(path + suffix); err != nil {
					t.Error(err)
				}
			}
		}
	}
	g, path := unixGate(t, Options{})
	must(t, g.Stage(1))
	must(t, os.WriteFile(path, []byte("keep"), 0o600))
	fails(t, g.Cutover(1), "is not a socket, and is not replaced")
	if names(t, path) != "s s.g1" || g.Live() != 0 {
		t.Errorf("files %q, live %d", names(t, path), g.Live())
	}
}

func TestTheSocketsOfADeadDaemonAreReplaced(t *testing.T) {
	g, path := unixGate(t, Options{})
	_, stop := startChild(t, nil, nil, "publish", "unix:"+path, "7")
	stop()
	if got := names(t, path); got != "s s.g7" {
		t.Fatalf("files %q", got)
	}
	switchOver(t, g, 0, 8)
	if got := names(t, path); got != "s s.g8" {
		t.Errorf("files %q", got)
	}
	wantVisit(t, g, 8)
}

func TestTheListenerOfAnEarlierDaemonServesUntilTheCutover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	pid, _ := startChild(t, nil, nil, "publish", "unix:"+path, "7")
	g := newGate(t, Options{Address: address(t, "unix:"+path), Earlier: func(p int) bool { return p == pid }})
	must(t, g.Stage(8))
	startWorker(t, g, 8)
	wantProbe(t, g, 8)
	if g.Foreign() != 1 {
		t.Errorf("Foreign() = %d", g.Foreign())
	}
	wantVisit(t, g, 7)
	must(t, g.Cutover(8))
	wantVisit(t, g, 8)
	if g.Foreign() != 0 || names(t, path) != "s s.g7 s.g8" {
		t.Errorf("Foreign() = %d, files %q", g.Foreign(), names(t, path))
	}
}

func TestAStrangerBehindThePathIsNamed(t *testing.T) {
	for _, as := range []string{"listen", "publish"} {
		for _, kind := range []string{"rename", "shared"} {
			g, path := unixGate(t, Options{Gate: kind})
			pid, _ := startChild(t, nil, nil, as, "unix:"+path, "7")
			fails(t, g.Stage(1), "(pid "+strconv.Itoa(pid)+"): stop it")
			fails(t, g.options.Address.Probe(nil), "(pid "+strconv.Itoa(pid)+"): stop it")
			conn, err := net.Dial("unix", path)
			if got, err := answered(conn, err); got != 7 || err != nil {
				t.Errorf("the stranger was disturbed: %d, %v", got, err)
			}
		}
	}
}

func TestClosingKeepsAPathOfAnotherProgram(t *testing.T) {
	g, path := unixGate(t, Options{})
	must(t, g.Stage(1))
	must(t, g.Cutover(1))
	must(t, os.Remove(path))
	startChild(t, nil, nil, "listen", "unix:"+path, "7")
	must(t, g.Close(1))
	if got := names(t, path); got != "s" {
		t.Errorf("files %q", got)
	}
}

func TestClosingRemovesTheSocketsOfADeadDaemon(t *testing.T) {
	g, path := unixGate(t, Options{})
	must(t, g.Stage(1))
	must(t, g.Cutover(1))
	startChild(t, nil, nil, "listen", "unix:"+path+".g6", "6")
	_, stop := startChild(t, nil, nil, "listen", "unix:"+path+".g7", "7")
	stop() // such as a worker that finishes while no daemon runs
	must(t, g.Close(1))
	if got := names(t, path); got != "s.g6" {
		t.Errorf("files %q", got)
	}
}

func TestConnectsNeverFailWhileAUnixSocketIsSwitched(t *testing.T) {
	g, _ := unixGate(t, Options{})
	for gen := 1; gen <= 2; gen++ {
		must(t, g.Stage(gen))
		startWorker(t, g, gen)
	}
	must(t, g.Cutover(1))
	done, end := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		for done.Err() == nil {
			if _, err := visit(g); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	}()
	for i := range 500 {
		must(t, g.Cutover(1+i%2))
	}
	end()
	must(t, <-errs)
}

func TestANewDaemonAdoptsUnixSockets(t *testing.T) {
	old, path := unixGate(t, Options{})
	must(t, old.Stage(1))
	startWorker(t, old, 1)
	must(t, old.Cutover(1))
	next := newGate(t, Options{Address: address(t, "unix:"+path)})
	for _, m := range old.Members() {
		dup, err := unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
		must(t, err)
		must(t, next.Adopt(m.Gen, dup))
		dup, err = unix.FcntlInt(uintptr(m.FD), unix.F_DUPFD_CLOEXEC, 3)
		must(t, err)
		fails(t, next.Adopt(m.Gen+1, dup), "it is bound to")
	}
	must(t, next.Cutover(1))
	switchOver(t, next, 1, 2)
	wantVisit(t, next, 2)
}

func TestAMissingDirectoryIsAnError(t *testing.T) {
	g := newGate(t, Options{Address: address(t, "unix:"+t.TempDir()+"/missing/s")})
	fails(t, g.Stage(1), "missing does not exist: make it, or name it in RuntimeDirectory=")
	if _, err := os.Lstat(filepath.Dir(g.options.Address.path)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestACanaryIsRefusedOnUnsteeredGates(t *testing.T) {
	g, _ := unixGate(t, Options{})
	must(t, g.Stage(1))
	fails(t, g.Canary(1, 500, nil), "only TCP listeners")
	must(t, g.Canary(1, 0, nil))
}
