package control

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyAStaleSocketIsReplaced(t *testing.T) {
	path := serve(t, &app{})
	if _, err := Listen(path, -1, &app{}); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("while another daemon runs: %v", err)
	}
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, -1, &app{}); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("on a file: %v", err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "data" {
		t.Errorf("the file is %q, %v", data, err)
	}
	stale := filepath.Join(t.TempDir(), "stale")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(stale, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	answers(t, stale)
}

func TestARemovedSocketIsMadeAgainAndOpenConnectionsGoOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	answers(t, path)
	if mended, err := s.Mend(); mended || err != nil {
		t.Errorf("one that is there: %t, %v", mended, err)
	}
	open := dial(t, path)
	answered := bufio.NewReader(open)
	ask := func(when string) {
		t.Helper()
		if _, err := io.WriteString(open, "GET /v1/status HTTP/1.1\r\nHost: superctl\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(answered, nil)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), `"release":"r1"`) {
			t.Errorf("%s: %s %v", when, text, err)
		}
	}
	ask("before")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if mended, err := s.Mend(); !mended || err != nil {
		t.Errorf("one that was removed: %t, %v", mended, err)
	}
	answers(t, path)
	ask("after")
}

func TestASocketThatIsTheNextDaemonsIsNotMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	s.LeaveToNext()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if mended, err := s.Mend(); mended || err != nil {
		t.Errorf("%t, %v", mended, err)
	}
}

func TestASocketThatLostItsPathIsNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	err = errors.Join(raw.Control(func(from uintptr) {
		fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
	}), err)
	if err != nil || fd < 0 {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // removes it
		t.Fatal(err)
	}
	if _, err := Inherit(fd, path, -1, &app{}); !errors.Is(err, ErrElsewhere) {
		t.Errorf("%v", err)
	}
}
