package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// hearing is a supervisor whose only worker is this process, and the path of its notify socket.
func hearing(t *testing.T, options func(*Options)) (s *Supervisor, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hear") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := newWorld(t)
	w.pid = os.Getpid() - 1 // so that the first worker is this process
	w.releases["r1"] = behaviour{}
	w.plan = func(p Plan) Plan { p.Probation = 0; return p }
	path = filepath.Join(dir, "notify")
	w.options = func(o *Options) { o.Notify = path; options(o) }
	s, stop := w.supervisor(t.TempDir())
	t.Cleanup(stop)
	switchTo(t, s, "r1")
	return s, path
}

// say connects to the notify socket, and returns what says something there.
func say(t *testing.T, path string) func(text string) {
	t.Helper()
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return func(text string) {
		t.Helper()
		if _, err := fmt.Fprintf(conn, "STATUS=%s", text); err != nil {
			t.Fatalf("say %s: %v", text, err)
		}
	}
}

// awaitStatus waits until the worker's newest status is text.
func awaitStatus(t *testing.T, s *Supervisor, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		says := s.Status().Generations[0].Workers[0].Status
		if says == text {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the newest that was heard is %q", says)
		}
	}
}

func TestWhatAWorkerSaysIsHeardHoweverOftenItSpeaks(t *testing.T) {
	s, path := hearing(t, func(*Options) {})
	speak := say(t, path)
	for i := range 100 { // far more than the socket holds unread
		speak(strconv.Itoa(i))
	}
	awaitStatus(t, s, "99")
}

func TestARemovedNotifySocketIsMadeAgainAndStored(t *testing.T) {
	var stored notifyStore
	s, path := hearing(t, func(o *Options) { o.Store = &stored })
	before := say(t, path)
	if mended, err := s.MendNotify(); mended || err != nil {
		t.Errorf("one that is there: %t, %v", mended, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	before("the last words to the socket that was removed")
	if mended, err := s.MendNotify(); !mended || err != nil {
		t.Errorf("one that was removed: %t, %v", mended, err)
	}
	awaitStatus(t, s, "the last words to the socket that was removed")
	say(t, path)("hello")
	awaitStatus(t, s, "hello")
	_ = s.do(func() {
		if n := len(stored.inodes); n != 2 || stored.removed != 1 || stored.inodes[0] == stored.inodes[1] {
			t.Errorf("sockets with inodes %v were put into the store, and %d were removed", stored.inodes, stored.removed)
		}
	})
}

// notifyStore is a Store that notes what becomes of the notify socket. It is owned by the supervisor's Run.
type notifyStore struct {
	inodes  []uint64 // of those that were put into it
	removed int
}

func (n *notifyStore) Put(name string, fd int) error {
	if name != notifyName {
		return nil
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	if len(n.inodes) != n.removed {
		return errors.New("it is there already")
	}
	n.inodes = append(n.inodes, st.Ino)
	return nil
}

func (n *notifyStore) Remove(name string) error {
	if name == notifyName {
		n.removed++
	}
	return nil
}

func (*notifyStore) Check() error { return nil }
