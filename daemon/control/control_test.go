package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"superctl/api"
)

// emitter receives the events of a change.
type emitter = func(api.Event)

// app is a Controller whose answers the test chooses.
type app struct {
	change func(ctx context.Context, req api.Request, emit emitter) (*api.Outcome, error)
	word   func(change string) error
	attach func(ctx context.Context, emit emitter) (*api.Attached, error)
	cancel func(ctx context.Context, req api.CancelRequest) (*api.Canceled, error)
	lock   func(ctx context.Context, l api.Lock, locked func()) error
	report func(r api.RunReport) error
	signal func(req api.SignalRequest) (*api.Signaled, error)
	cron   func(ctx context.Context, req api.CronRequest, emit emitter) (*api.CronRun, error)
	logs   func(ctx context.Context, emit func(api.LogLine) error) error
}

func (a *app) Environment() api.EnvironmentStatus {
	variables := []api.Variable{{Name: "LANG", From: "superctl"}}
	return api.EnvironmentStatus{
		App: "shop", Processes: []api.ProcessEnvironment{{Process: "web", Variables: variables}},
	}
}

func (a *app) App() string { return "shop" }

func (a *app) Status() api.Status { return api.Status{App: "shop", Release: "r1"} }

func (a *app) Measures() api.Measures { return api.Measures{Status: a.Status()} }

func (a *app) History() ([]api.PastChange, error) {
	return []api.PastChange{{Number: 7, Outcome: api.Outcome{Kind: "switch", Release: "r1"}}}, nil
}

func (a *app) Change(ctx context.Context, req api.Request, emit emitter) (*api.Outcome, error) {
	return a.change(ctx, req, emit)
}

func (a *app) Go(change string) error { return a.word(change) }

func (a *app) Attach(ctx context.Context, emit emitter) (*api.Attached, error) {
	return a.attach(ctx, emit)
}

func (a *app) Cancel(ctx context.Context, req api.CancelRequest) (*api.Canceled, error) {
	return a.cancel(ctx, req)
}

func (a *app) Lock(ctx context.Context, l api.Lock, locked func()) error {
	return a.lock(ctx, l, locked)
}

func (a *app) Announce(r api.RunReport) error { return a.report(r) }

func (a *app) RunCron(ctx context.Context, req api.CronRequest, emit emitter) (*api.CronRun, error) {
	return a.cron(ctx, req, emit)
}

func (a *app) Signal(req api.SignalRequest) (*api.Signaled, error) { return a.signal(req) }

func (a *app) Logs(ctx context.Context, _ api.LogQuery, emit func(api.LogLine) error) error {
	return a.logs(ctx, emit)
}

// serve serves c on a socket until the test ends, and returns the path.
func serve(t *testing.T, c Controller) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, -1, c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return path
}

// run runs the server until the test ends, and fails the test if the server fails.
func run(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// answers checks that the daemon answers an ordinary client.
func answers(t *testing.T, path string) {
	t.Helper()
	st, err := NewClient(path, "shop").Status(t.Context())
	if err != nil || st.Release != "r1" {
		t.Errorf("status: %+v, %v", st, err)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAMalformedRequestIsRefusedAndOthersAreAnswered(t *testing.T) {
	const change = "POST /v1/change HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	endless := strings.Repeat("x", 1<<20)
	path := serve(t, &app{})
	for name, c := range map[string]struct{ sent, says string }{
		"garbage":            {"\x00\xff\x16\x03\x01 hello\r\n\r\n", "400 Bad Request"},
		"no such path":       {"GET /v9/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "version " + Version},
		"wrong method":       {"DELETE /v1/status HTTP/1.0\r\n\r\n", "unknown request DELETE"},
		"no JSON":            {change + "3\r\n\r\n{]}", "cannot be read"},
		"an unknown field":   {change + "13\r\n\r\n{\"colour\": 1}", "unknown field"},
		"an endless header":  {"GET /v1/status HTTP/1.1\r\nX: " + endless, "431 Request Header Fields Too Large"},
		"an endless request": {change + "10000000\r\n\r\n\"" + endless, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, path)
			// The daemon hangs up before the end of the endless requests.
			go func() { _, _ = io.WriteString(conn, c.sent) }()
			answer, _ := io.ReadAll(io.LimitReader(bufio.NewReader(conn), 4096))
			if !strings.Contains(string(answer), c.says) {
				t.Errorf("the answer has no %q:\n%s", c.says, answer)
			}
			answers(t, path)
		})
	}
}

func TestTheNamesOfTheEnvironmentAreAnswered(t *testing.T) {
	st, err := NewClient(serve(t, &app{}), "shop").Environment(t.Context())
	if err != nil || !reflect.DeepEqual(st, (&app{}).Environment()) {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestTheHistoryIsAnswered(t *testing.T) {
	got, err := NewClient(serve(t, &app{}), "shop").History(t.Context())
	if want, _ := (&app{}).History(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAThousandIdleConnectionsDoNotBlockOthers(t *testing.T) {
	path := serve(t, &app{})
	for range 1000 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
	answers(t, path)
}

func TestARefusalKeepsItsKind(t *testing.T) {
	for _, sent := range []error{
		&api.BusyError{Changing: api.ChangeStatus{Kind: "switch", Release: "r2"}},
		&api.RefusedError{Usage: true, Err: errors.New("no such process")},
		&api.RefusedError{Err: errors.New("nothing is live")},
	} {
		path := serve(t, &app{change: func(context.Context, api.Request, emitter) (*api.Outcome, error) {
			return nil, sent
		}})
		_, err := NewClient(path, "shop").Change(t.Context(), api.Request{}, nil)
		var busy *api.BusyError
		var refused *api.RefusedError
		wantBusy := errors.As(sent, &busy)
		if errors.As(err, &busy) != wantBusy || errors.As(err, &refused) == wantBusy || err.Error() != sent.Error() {
			t.Errorf("%#v became %#v", sent, err)
		}
		if !wantBusy && refused.Usage != strings.Contains(sent.Error(), "such") {
			t.Errorf("usage: %+v", refused)
		}
	}
}
