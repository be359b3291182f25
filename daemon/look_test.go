package daemon

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"superctl/config"
	"superctl/releases"
	"superctl/socket"
	"superctl/supervisor"
)

// lookingAt returns a looker of an app with a listener at the address, and an inspection of this
// process as its worker.
func lookingAt(t *testing.T, address string) (*looker, supervisor.Look) {
	t.Helper()
	dir := t.TempDir()
	release := filepath.Join(dir, "r2")
	if err := os.MkdirAll(release, 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := socket.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &looker{
		listen: []config.Listen{{Name: "web", Address: at}}, store: &releases.Store{Dir: dir},
		turns: make(chan struct{}, 1),
	}
	return l, supervisor.Look{
		Process: supervisor.Process{Name: "web", Listen: []string{"web"}, Command: []string{"serve"}, Dir: release},
		Release: supervisor.Release{Name: "r2", Path: release}, PIDs: []int{os.Getpid()},
	}
}

// bound returns a listener and its inode number.
func bound(t *testing.T, network, address string) (net.Listener, uint64) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, ok := l.(syscall.Conn)
	if !ok {
		t.Fatal("a listener without a descriptor")
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &st) }); err != nil {
		t.Fatal(err)
	}
	return l, st.Ino
}

func TestAWorkerListensOnlyWhereItMay(t *testing.T) {
	own, inode := bound(t, "tcp", "127.0.0.1:0")
	l, look := lookingAt(t, own.Addr().String())
	see := func(want string) {
		t.Helper()
		err := l.look(context.Background(), look)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	see("bypass the gate of listen.web")
	look.Process.ExtraListen = []string{own.Addr().String()} // cannot allow an address of the app
	see("bypass the gate of listen.web")
	look.Listeners = []uint64{inode}
	see("")

	other, _ := bound(t, "tcp", "127.0.0.1:0")
	see("listens on " + other.Addr().String() + " and not on the listener that superctl passed to it")
	look.Healthy = true
	see(`extra_listen = ["` + other.Addr().String() + `"]`)
	look.Process.ExtraListen = []string{"127.0.0.1:*"}
	see("")

	path := filepath.Join(t.TempDir(), "app.sock")
	bound(t, "unix", path)
	see("listens on unix:" + path)
	look.Process.ExtraListen = append(look.Process.ExtraListen, "unix:"+filepath.Dir(path)+"/*.sock")
	see("")
	private := filepath.Join(t.TempDir(), "pymp-abc")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	bound(t, "unix", private+"/listener-xyz")
	bound(t, "unix", "") // the kernel chooses a name
	see("")

	look.Process.Listen, look.Process.ExtraListen = nil, nil // a background process
	see("")
	look.Listeners = nil
	see("bypass the gate of listen.web")
}

func TestAWorkerMustRunFromItsRelease(t *testing.T) {
	l, look := lookingAt(t, "127.0.0.1:1")
	look.Process.Listen = nil
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	l.store.Dir = filepath.Dir(here) // in which this process's directory is a release
	err = l.look(context.Background(), look)
	if err == nil || !strings.Contains(err.Error(), "runs from release "+filepath.Base(here)) ||
		!strings.Contains(err.Error(), "working directory") {
		t.Errorf("%v", err)
	}
	look.Release.Path = here
	if err := l.look(context.Background(), look); err != nil {
		t.Error(err)
	}
}
