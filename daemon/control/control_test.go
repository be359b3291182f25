package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
	st, err := NewClient(path).Status(t.Context())
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
	st, err := NewClient(serve(t, &app{})).Environment(t.Context())
	if err != nil || !reflect.DeepEqual(st, (&app{}).Environment()) {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestTheHistoryIsAnswered(t *testing.T) {
	got, err := NewClient(serve(t, &app{})).History(t.Context())
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

func TestEventsArriveAndTheKernelIdentifiesThePeer(t *testing.T) {
	path := serve(t, &app{change: func(
		_ context.Context, req api.Request, emit emitter,
	) (*api.Outcome, error) {
		emit(api.Event{Type: "begin", Step: "boot"})
		return &api.Outcome{Result: api.Done, Who: req.Who, Origin: req.Origin}, nil
	}})
	var steps []string
	req := api.Request{Kind: api.Switch, Who: "the king"}
	event := func(ev api.Event) { steps = append(steps, ev.Step) }
	out, err := NewClient(path).Change(t.Context(), req, event)
	if err != nil || len(steps) != 1 || out.Who == "the king" || out.Peer == nil {
		t.Fatalf("%+v %v %v", out, steps, err)
	}
	if int(out.Peer.UID) != os.Getuid() || int(out.Peer.PID) != os.Getpid() {
		t.Errorf("%+v %v %v", out, steps, err)
	}
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
		_, err := NewClient(path).Change(t.Context(), api.Request{}, nil)
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
	_, err := NewClient(path).Change(t.Context(), api.Request{}, func(api.Event) {})
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "superctl attach") {
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
		_, err := NewClient(path).Status(t.Context())
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

func TestARequestThatMeetsAnUpgradeGoesToTheNextDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	arrived, goOn := make(chan string, 2), make(chan struct{})
	stopping := &api.RefusedError{Err: errors.New("the daemon is stopping")}
	first, err := Listen(path, -1, &app{
		change: func(_ context.Context, req api.Request, _ emitter) (*api.Outcome, error) {
			arrived <- req.Release
			<-goOn
			return nil, stopping
		},
		signal: func(req api.SignalRequest) (*api.Signaled, error) {
			arrived <- req.Process
			<-goOn
			return nil, stopping
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, first)
	fd := -1
	if err := first.Descriptor(func(from int) error {
		fd, err = unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		out, err := NewClient(path).Change(t.Context(), api.Request{Kind: api.Switch, Release: "r2"}, func(api.Event) {})
		if err != nil || out.Result != api.Done {
			t.Errorf("switch: %+v, %v", out, err)
		}
	})
	asking.Go(func() {
		out, err := NewClient(path).Signal(t.Context(), api.SignalRequest{Process: "web"})
		if err != nil || out == nil {
			t.Errorf("signal: %+v, %v", out, err)
		}
	})
	<-arrived
	<-arrived
	first.LeaveToNext()
	next, err := Inherit(fd, path, -1, &app{
		change: func(_ context.Context, req api.Request, _ emitter) (*api.Outcome, error) {
			if req.Kind != api.Switch || req.Release != "r2" {
				t.Errorf("the next daemon is asked for %+v", req)
			}
			return &api.Outcome{Result: api.Done}, nil
		},
		signal: func(req api.SignalRequest) (*api.Signaled, error) {
			if req.Process != "web" {
				t.Errorf("the next daemon is asked for %+v", req)
			}
			return &api.Signaled{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, next)
	close(goOn)
	asking.Wait()
}

func TestARunOfAScheduledCommandIsStreamedRefusedAndEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ended := make(chan error, 1)
	s, err := Listen(path, -1, &app{
		cron: func(ctx context.Context, req api.CronRequest, emit emitter) (*api.CronRun, error) {
			switch req.Name {
			case "clear":
				emit(api.Event{Type: "output", Detail: "one"})
				emit(api.Event{Type: "output", Detail: "two"})
				return &api.CronRun{Name: "clear", Who: req.Who, Result: api.CronDone}, nil
			case "long":
				emit(api.Event{Type: "output", Detail: "it runs"})
				<-ctx.Done()
				ended <- ctx.Err()
				return &api.CronRun{Result: api.CronEnded}, nil
			}
			return nil, &api.RefusedError{Usage: true, Err: errors.New("there is none")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	c := NewClient(path)
	var lines []string
	out, err := c.RunCron(t.Context(), api.CronRequest{Name: "clear", Who: "not me"}, func(line string) { lines = append(lines, line) })
	if err != nil || out.Result != api.CronDone || out.Who == "not me" || !slices.Equal(lines, []string{"one", "two"}) {
		t.Errorf("%+v, %q, %v", out, lines, err)
	}
	var refused *api.RefusedError
	if _, err := c.RunCron(t.Context(), api.CronRequest{Name: "none"}, nil); !errors.As(err, &refused) || !refused.Usage {
		t.Errorf("a name that there is not: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.RunCron(ctx, api.CronRequest{Name: "long"}, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("Ctrl-C: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the command was not ended")
	}
}

func TestAConnectionThatWasAcceptedBeforeTheEndIsAnswered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	early := dial(t, path)
	answers(t, path) // so the server has accepted the one before, too
	end()
	for {
		c, err := net.Dial("unix", path)
		if err != nil {
			break // the server has begun to end
		}
		_ = c.Close()
	}
	if _, err := io.WriteString(early, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(early)
	if !strings.Contains(string(answer), "200 OK") {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheNextDaemonAnswersEarlierConnections(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := first.Descriptor(func(from int) error {
		fd, err = unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	first.LeaveToNext()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	waiting := dial(t, path)
	if _, err := io.WriteString(waiting, "GET /v1/status HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	next, err := Inherit(fd, path, -1, &app{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, next)
	answer, err := io.ReadAll(waiting)
	if err != nil || !strings.Contains(string(answer), `"release":"r1"`) {
		t.Errorf("%s %v", answer, err)
	}
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
		out, err := NewClient(path).Change(t.Context(), api.Request{}, func(api.Event) {})
		if out == nil && err == nil {
			t.Error("neither an outcome nor an error")
		}
	})
}

func TestAClientThatDoesNotReadDoesNotBlockItsChange(t *testing.T) {
	ended := make(chan error, 1)
	path := serve(t, &app{change: func(
		ctx context.Context, _ api.Request, emit emitter,
	) (*api.Outcome, error) {
		for range 100_000 {
			emit(api.Event{Type: "output", Step: "before", Detail: strings.Repeat("x", 1000)})
		}
		emit(api.Event{Type: "end", Step: "before"})
		ended <- ctx.Err()
		return &api.Outcome{Result: api.Done}, nil
	}})
	conn := dial(t, path)
	const request = "POST /v1/change HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the change was ended: %v", err)
	}
	// When the client reads on, it gets the outcome and a note about the dropped lines.
	text, err := io.ReadAll(conn)
	complete := strings.Contains(string(text), `"outcome":"done"`) && strings.Contains(string(text), `"type":"end"`)
	if err != nil || !complete || len(text) > 10<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

func TestTheUserOfThePagesMayOnlyLook(t *testing.T) {
	for request, allowed := range map[string]bool{
		"GET /v1/status": true, "GET /v1/measures": true, "GET /v1/history": true, "POST /v1/status": false, "GET /v1/environment": false,
		"POST /v1/change": false, "POST /v1/logs": false, "POST /v1/signal": false, "POST /v1/lock": false,
	} {
		method, path, _ := strings.Cut(request, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		if (peer{who: viewer, view: true}).may(r) != allowed {
			t.Errorf("%s: allowed is not %t", request, allowed)
		}
		if !(peer{who: "ann"}).may(r) {
			t.Errorf("%s is refused to another user", request)
		}
	}
}
