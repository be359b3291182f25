package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/daemon/handover"
	"superctl/socket"
)

// boundAt returns a unix socket bound to a path, in place of an earlier one.
func boundAt(t *testing.T, path string, kind int) int {
	t.Helper()
	_ = os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

func TestTheStoredSocketThatThePathLeadsToIsTaken(t *testing.T) {
	for name, kind := range map[string]int{controlName: unix.SOCK_STREAM, notifyName: unix.SOCK_DGRAM} {
		path := filepath.Join(t.TempDir(), "s")
		old, current := boundAt(t, path, kind), boundAt(t, path, kind)
		for _, order := range [][]int{{old, current}, {current, old}} {
			stored := &socket.Inherited{}
			for _, fd := range order {
				stored.Give(name, fd)
			}
			d := &descriptors{handed: &handover.Upgrader{}, stored: stored, paths: map[string]string{name: path}}
			if fd, ok := d.take(name); !ok || fd != current {
				t.Errorf("%s: of %v it takes %d, want %d", name, order, fd, current)
			}
		}
		stored := &socket.Inherited{}
		stored.Give(name, old)
		d := &descriptors{handed: &handover.Upgrader{}, stored: stored, paths: map[string]string{name: path}}
		if fd, ok := d.take(name); ok {
			t.Errorf("%s: it takes %d, which its path does not lead to", name, fd)
		}
	}
}
