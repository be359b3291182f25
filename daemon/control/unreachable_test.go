package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"superctl/api"
)

// hangsUpAfter answers one request with a text, and hangs up.
func hangsUpAfter(t *testing.T, answer string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}()
	return path
}

func TestADaemonThatDiesDuringAChangeIsUnreachable(t *testing.T) {
	path := hangsUpAfter(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n{\"event\":{\"type\":\"begin\"}}")
	_, err := NewClient(path, "shop").Change(t.Context(), api.Request{}, func(api.Event) {})
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "superctl attach") {
		t.Errorf("%v", err)
	}
}

func TestADaemonThatDiesBeforeItAnswersIsReportedWithTheNextStep(t *testing.T) {
	_, err := NewClient(hangsUpAfter(t, ""), "shop").Status(t.Context())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "it ended before it answered") ||
		!strings.Contains(err.Error(), "superctl status shows") || strings.Contains(err.Error(), "http://") {
		t.Errorf("%v", err)
	}
}

func TestAnUnreachableDaemonIsReportedWithTheNextStep(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		filepath.Join(dir, "none"): "Is the daemon running?", dead: "Has the daemon died?",
	} {
		_, err := NewClient(path, "shop").Status(t.Context())
		var unreachable *UnreachableError
		if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
	own := filepath.Join(dir, "own")
	group := 1
	if os.Geteuid() != 0 {
		group = os.Getegid() // the only one that this user can choose
	}
	if err := errors.Join(os.WriteFile(own, nil, 0o600), os.Chown(own, -1, group), os.Chmod(own, 0o660)); err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(strconv.Itoa(group))
	if err != nil {
		t.Fatal(err)
	}
	for text, e := range map[string]UnreachableError{
		"permission denied for /run/x. Use sudo":          {Path: "/run/x", Err: syscall.EACCES},
		"(systemctl status superctl@shop)":                {Path: "/run/superctl/shop.sock", Err: syscall.ENOENT},
		"(journalctl -u superctl@shop)":                   {Path: "/run/superctl/shop.sock", Err: syscall.ECONNREFUSED},
		"(usermod --append --groups " + g.Name + " USER)": {Path: own, Err: syscall.EACCES},
	} {
		if !strings.HasSuffix(e.Error(), text) {
			t.Errorf("got  %v\nwant %s", e.Error(), text)
		}
	}
}

func TestTheDaemonOfAnotherAppIsNotAsked(t *testing.T) {
	path := serve(t, &app{change: func(context.Context, api.Request, emitter) (*api.Outcome, error) {
		t.Error("the other app was changed")
		return &api.Outcome{}, nil
	}})
	staging := NewClient(path, "staging")
	_, errStatus := staging.Status(t.Context())
	_, errChange := staging.Change(t.Context(), api.Request{Kind: api.Switch, Release: "r1"}, func(api.Event) {})
	for _, err := range []error{errStatus, errChange} {
		var unreachable *UnreachableError
		if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), `the daemon of the app "shop" answers there`) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := NewClient(path, "").Status(t.Context()); err != nil { // a client that looks for apps
		t.Error(err)
	}
}

// FuzzAnswer checks that a client returns an outcome or an error for any answer of a daemon.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"event":{"type":"begin","step":"boot"}}` + "\n" + `{"outcome":{"outcome":"done"}}`)
	f.Add(`{"refused":{"error":"x","changing":{}}}`)
	f.Add("{}\n{}\nnull")
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 1<<16 {
			return
		}
		path := filepath.Join(t.TempDir(), "s")
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			_ = conn.Close()
		}()
		out, err := NewClient(path, "shop").Change(t.Context(), api.Request{}, func(api.Event) {})
		if out == nil && err == nil {
			t.Error("neither an outcome nor an error")
		}
	})
}
