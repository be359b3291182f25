package supervisor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhatAWorkerSaysIsHeardHoweverOftenItSpeaks(t *testing.T) {
	dir, err := os.MkdirTemp("", "hear") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := newWorld(t)
	w.pid = os.Getpid() - 1 // so that the first worker is this process
	w.releases["r1"] = behaviour{}
	w.plan = func(p Plan) Plan { p.Probation = 0; return p }
	path := filepath.Join(dir, "notify")
	w.options = func(o *Options) { o.Notify = path }
	s, stop := w.supervisor(t.TempDir())
	defer stop()
	switchTo(t, s, "r1")
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	deadline := time.Now().Add(10 * time.Second)
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // far more than the socket holds unread
		if _, err := fmt.Fprintf(conn, "STATUS=%d", i); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	for {
		says := s.Status().Generations[0].Workers[0].Status
		if says == "99" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the newest that was heard is %q", says)
		}
	}
}
