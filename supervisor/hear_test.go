package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"superctl/supervisor/worker"
)

// hearing is a supervisor whose only worker is this process, and the path of its notify socket.
func hearing(t *testing.T, options func(*Options)) (s *Supervisor, path string) {
	t.Helper()
	_, s, path = unstarted(t, options)
	switchTo(t, s, "r1")
	return s, path
}

// unstarted is hearing before its worker is started.
func unstarted(t *testing.T, options func(*Options)) (w *world, s *Supervisor, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hear") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w = newWorld(t)
	w.pid = os.Getpid() - 1 // so that the first worker is this process
	w.releases["r1"] = behaviour{}
	w.plan = func(p Plan) Plan { p.Probation = 0; return p }
	path = filepath.Join(dir, "notify")
	w.options = func(o *Options) { o.Notify = path; options(o) }
	s, stop := w.supervisor(t.TempDir())
	t.Cleanup(stop)
	return w, s, path
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

func TestWhatAWorkerSaysIsHeardHoweverBusyTheOwnerIs(t *testing.T) {
	s, path := hearing(t, func(*Options) {})
	speak := say(t, path)
	if err := s.do(func() {
		for i := range 100 { // far more than the socket holds unread
			speak(strconv.Itoa(i))
		}
	}); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, s, "99")
}

func TestAWorkerMaySayThatItIsReadyBeforeItIsKnown(t *testing.T) {
	w, s, path := unstarted(t, func(*Options) {})
	speak := say(t, path)
	w.plan = func(p Plan) Plan { p.Probation, p.Processes[0].Notify = 0, true; return p }
	started := make(chan struct{})
	w.releases["r1"] = behaviour{startHangs: started}
	go func() {
		defer close(started)
		until(s, s.starting)
		speak("up\nREADY=1")
		until(s, func() bool { return len(s.mailbox.unclaimed) > 0 })
	}()
	want(t, s, switchTo(t, s, "r1"), Done, "r1")
}

// until waits until the owner says that it is so.
func until(s *Supervisor, is func() bool) {
	for so := false; !so; {
		if s.do(func() { so = is() }) != nil {
			return
		}
	}
}

func TestAWorkerSaysOnceThatItIsReady(t *testing.T) {
	for name, leave := range map[string]func(s *Supervisor){
		"restart": leaveNow,
		"upgrade": func(s *Supervisor) {
			_, _ = s.Change(context.Background(), Request{Kind: Upgrade}, func(Event) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"] = behaviour{}
				w.plan = func(p Plan) Plan { p.Processes[0].Notify = true; return p }
				var first *Supervisor
				renewing(w, func([]Descriptor) error { first.endProofs(); return nil })
				dir := t.TempDir()
				s, stop := w.supervisor(dir)
				first = s
				says := func(p *fakeProc) {
					_ = s.do(func() {
						s.mailbox.deliver(worker.Message{
							Lineage: []int{p.pid}, Fields: map[string]string{"READY": "1"},
						})
					})
				}
				go func() { time.Sleep(5 * time.Second); says(w.newest("r1")) }()
				want(t, s, switchTo(t, s, "r1"), Done, "r1")
				w.releases["r1"] = behaviour{answerAfter: 20 * time.Second}
				w.newest("r1").die(worker.Exit{})
				time.Sleep(10 * time.Second)
				says(w.newest("r1")) // it has not passed its health check
				leave(s)
				stop()
				s, stop = w.supervisor(dir)
				defer stop()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				if st := s.Status(); st.Health != HealthOK || len(w.procs) != 2 {
					t.Errorf("%d workers were started: %+v", len(w.procs), st)
				}
			})
		})
	}
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.await(ctx, func() (bool, error) { return len(stored.inodes) == 2, nil }); err != nil {
		t.Fatalf("the store was given sockets with inodes %v: %v", stored.inodes, err)
	}
	_ = s.do(func() {
		if stored.removed != 1 || stored.inodes[0] == stored.inodes[1] {
			t.Errorf(
				"sockets with inodes %v were put into the store, and %d were removed", stored.inodes, stored.removed,
			)
		}
	})
}

// notifyStore is a Store that notes what becomes of the notify socket. It is owned by the
// supervisor's Run.
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
