package socket

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheListenersOfAProcessAreFoundBothWays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	var want []string
	for _, at := range [][2]string{
		{"tcp4", "127.0.0.1:0"},
		{"tcp6", "[::1]:0"},
		{"tcp", "[::]:0"},
		{"unix", path},
		{"unix", "@superctl-listening-test"},
	} {
		l, err := net.Listen(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		text := l.Addr().String()
		if at[0] == "unix" {
			text = "unix:" + text
		}
		want = append(want, text)
	}
	c, err := net.Dial("unix", path) // a connection is not a listener
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, find := range map[string]func() (map[uint64]Listening, error){
		"sock_diag": diagListening, "proc": func() (map[uint64]Listening, error) { return procListening(os.Getpid()) },
	} {
		all, err := find()
		if err != nil {
			t.Fatal(err)
		}
		inodes, err := openSockets(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, inode := range inodes {
			if l, ok := all[inode]; ok && l.Inode == inode {
				got = append(got, l.String())
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	list, err := ListenersOf([]int{os.Getpid(), 1 << 30})
	if err != nil || len(list) != len(want) || list[0].PID != os.Getpid() {
		t.Errorf("%v, %v", list, err)
	}
}

func TestASocketThatGetsAListenersConnectionsOverlapsIt(t *testing.T) {
	for _, c := range []struct {
		bound, address string
		want           bool
	}{
		{"127.0.0.1:8000", "127.0.0.1:8000", true},
		{"0.0.0.0:8000", "127.0.0.1:8000", true},
		{"[::]:8000", "127.0.0.1:8000", true},
		{"127.0.0.1:8000", ":8000", true},
		{"127.0.0.1:8001", "127.0.0.1:8000", false},
		{"127.0.0.2:8000", "127.0.0.1:8000", false},
		{"unix:/run/a.sock", "unix:/run/a.sock", true},
		{"unix:/run/b.sock", "unix:/run/a.sock", false},
		{"unix:/run/a.sock", "127.0.0.1:8000", false},
		{"127.0.0.1:8000", "unix:/run/a.sock", false},
		{"127.0.0.1:8000", "systemd:web", false},
		{"127.0.0.1:8000", "systemd:web:127.0.0.1:8000", true},
	} {
		bound, err := ParseAddress(c.bound)
		if err != nil {
			t.Fatal(err)
		}
		at, err := ParseAddress(c.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Listening{Addr: bound.tcp, Path: bound.path}).Overlaps(at); got != c.want {
			t.Errorf("%s and %s: %v", c.bound, c.address, got)
		}
	}
}
