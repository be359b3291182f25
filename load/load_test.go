package load

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serve serves each request with answer, which may do anything to the connection and returns
// whether to keep it open.
func serve(t *testing.T, answer func(conn *net.TCPConn, req *http.Request, body []byte) bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(req.Body)
					if !answer(conn.(*net.TCPConn), req, body) {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

func say(conn *net.TCPConn, format string, args ...any) { _, _ = fmt.Fprintf(conn, format, args...) }

// sendAndClose answers with text and closes the connection.
func sendAndClose(text string) func(*net.TCPConn, *http.Request, []byte) bool {
	return func(c *net.TCPConn, _ *http.Request, _ []byte) bool {
		say(c, "%s", text)
		return false
	}
}

func reset(conn *net.TCPConn) bool {
	_ = conn.SetLinger(0)
	return false
}

// send sends n requests and returns the result.
func send(t *testing.T, cfg Config, n int) *Result {
	t.Helper()
	cfg.MaxRequests = n
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-r.done
	return r.Stop()
}

func TestEachWayToLoseARequestIsCountedInItsOwnClass(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Release: r1\r\n\r\n"
	const noBody = "\r\nContent-Length: 0\r\n\r\n"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	check := func(int, http.Header, []byte) error { return io.EOF }
	resetOnly := func(c *net.TCPConn, _ *http.Request, _ []byte) bool { return reset(c) }
	failing := Shape{Method: "GET", Path: "/", Check: check}
	tests := map[string]struct {
		answer func(conn *net.TCPConn, req *http.Request, body []byte) bool
		shape  Shape
		want   Failure
	}{
		"reset before the answer":    {resetOnly, Get("/"), Reset},
		"closed before the answer":   {sendAndClose(""), Get("/"), Closed},
		"closed within the head":     {sendAndClose("HTTP/1.1 200 O"), Get("/"), Cut},
		"closed within the body":     {sendAndClose(head + "01234"), Get("/"), Cut},
		"last chunk is missing":      {sendAndClose(chunked + "5\r\n01234\r\n"), Get("/"), Cut},
		"stream without its end":     {sendAndClose("HTTP/1.0 200 OK\r\n\r\n01234"), Stream("/", 10), Wrong},
		"502":                        {sendAndClose("HTTP/1.1 502 Bad Gateway" + noBody), Get("/"), ServerError},
		"404":                        {sendAndClose("HTTP/1.1 404 Not Found" + noBody), Get("/"), Wrong},
		"not HTTP":                   {sendAndClose("SSH-2.0-OpenSSH\r\n\r\n"), Get("/"), Wrong},
		"another request's answer":   {sendAndClose(head + "0123456789"), Post("/", 100), Wrong},
		"a check that does not hold": {sendAndClose(head + "0123456789"), failing, Wrong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			res := send(t, Config{Address: serve(t, test.answer), Shapes: []Shape{test.shape}}, 3)
			if got := res.Count(); got[test.want] != 3 || len(got) != 1 || len(res.Failed()) != 3 {
				t.Errorf("got %v, want 3 x %q\n%s", got, test.want, res)
			}
			if !strings.Contains(res.String(), "3 failed: 3 "+test.want.String()) {
				t.Errorf("the summary does not say so:\n%s", res)
			}
		})
	}
}

func TestAResetInTheMiddleOfAnAnswerIsACut(t *testing.T) {
	read := make(chan struct{})
	addr := serve(t, func(c *net.TCPConn, _ *http.Request, _ []byte) bool {
		say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
		<-read // on a reset the kernel discards what the peer has not read
		return reset(c)
	})
	c := connection{cfg: &Config{Network: "tcp", Address: addr, Timeout: time.Minute}}
	if err := c.dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	wire, _ := c.request(&Shape{Method: "GET", Path: "/"})
	if _, err := c.conn.Write(wire); err != nil {
		t.Fatal(err)
	}
	if _, err := c.reader.Peek(40); err != nil {
		t.Fatal(err)
	}
	close(read)
	_, err := io.Copy(io.Discard, c.reader)
	if got := classify(err, c.counted.n > 0); got != Cut {
		t.Errorf("%v is counted as %q", err, got)
	}
}

func TestARefusedConnectionIsCounted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	missing := filepath.Join(t.TempDir(), "s")
	for _, cfg := range []Config{{Network: "tcp", Address: addr}, {Network: "unix", Address: missing}} {
		cfg.Shapes = []Shape{Get("/")}
		if res := send(t, cfg, 2); res.Count()[Refused] != 2 {
			t.Errorf("%s: %s", cfg.Network, res)
		}
	}
}

func TestAFullQueueOfAUnixSocketIsARefusal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("unix", path) // fills the queue: the test accepts no connection
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if res := send(t, Config{Network: "unix", Address: path, Shapes: []Shape{Get("/")}}, 2); res.Count()[Refused] != 2 {
		t.Error(res)
	}
}

func TestAnAnswerThatDoesNotComeIsCountedAtTheTimeLimit(t *testing.T) {
	hang := make(chan struct{})
	addr := serve(t, func(*net.TCPConn, *http.Request, []byte) bool { <-hang; return false })
	res := send(t, Config{Address: addr, Shapes: []Shape{Get("/")}, Timeout: 20 * time.Millisecond}, 2)
	close(hang)
	if res.Count()[TimedOut] != 2 {
		t.Error(res)
	}
}

// good answers like the test application.
func good(closing bool) func(conn *net.TCPConn, req *http.Request, body []byte) bool {
	return func(c *net.TCPConn, _ *http.Request, body []byte) bool {
		sum := sha256.Sum256(body)
		answer := hex.EncodeToString(sum[:])
		header := ""
		if closing {
			header = "Connection: close\r\n"
		}
		say(c, "HTTP/1.1 200 OK\r\n%sX-Release: r1\r\nX-Generation: 7\r\nX-Pid: 42\r\nContent-Length: %d\r\n\r\n%s",
			header, len(answer), answer)
		return !closing
	}
}

func TestAGoodAnswerIsRecordedWithTimesAndWorker(t *testing.T) {
	res := send(t, Config{Address: serve(t, good(false)), Shapes: []Shape{Get("/"), Post("/", 5000)}, Clients: 1}, 4)
	if len(res.Records) != 4 || len(res.Failed()) != 0 || !res.LimitReached {
		t.Fatal(res)
	}
	for i, rec := range res.Records {
		author := rec.Release == "r1" && rec.Generation == 7 && rec.PID == 42
		if !author || rec.Status != 200 || rec.Bytes != 64 || rec.Reused || rec.Shape != i%2 {
			t.Errorf("record %d: %+v", i, rec)
		}
		moments := []time.Time{rec.Due, rec.Begun, rec.Opened, rec.Connected, rec.Ended}
		for j := range moments[1:] {
			if moments[j+1].Before(moments[j]) {
				t.Errorf("record %d: moment %d comes before moment %d", i, j+1, j)
			}
		}
	}
}

func TestShapesAreSentAsOftenAsTheirWeight(t *testing.T) {
	heavy := Get("/heavy")
	heavy.Weight = 3
	res := send(t, Config{Address: serve(t, good(false)), Shapes: []Shape{heavy, Get("/light")}}, 40)
	if n, m := len(res.Only("GET /heavy").Records), len(res.Only("GET /light").Records); n != 30 || m != 10 {
		t.Errorf("%d heavy, %d light", n, m)
	}
}

func TestARareShapeIsSpreadAmongTheOthers(t *testing.T) {
	often, seldom := Get("/often"), Get("/seldom")
	often.Weight, seldom.Weight = 4, 2
	if got := fmt.Sprint(sendingOrder([]Shape{often, seldom})); got != "[0 1 0 0 1 0]" {
		t.Errorf("the shapes come in the order %s", got)
	}
}

func TestAnAlteredByteOfAPatternIsAWrongAnswer(t *testing.T) {
	s, body := Pattern("/stream", 512), make([]byte, 512)
	for i := range body {
		body[i] = byte(i)
	}
	if f, err := s.judge(200, nil, body, ""); f != None {
		t.Error(f, err)
	}
	body[300]++
	if f, err := s.judge(200, nil, body, ""); f != Wrong || err.Error() != "byte 300 of the body is 45" {
		t.Error(f, err)
	}
}

func TestSomeClientsKeepTheirConnectionsAndSomeDoNot(t *testing.T) {
	cfg := Config{
		Address: serve(t, good(false)), Shapes: []Shape{Get("/")},
		Clients: 4, KeepAlive: true, FreshClients: 2,
	}
	res := send(t, cfg, 40)
	kept := make(map[int]bool)
	for _, rec := range res.Reused().Records {
		kept[rec.Client] = true
	}
	if kept[0] || kept[1] || !kept[2] && !kept[3] {
		t.Errorf("clients that kept a connection: %v", kept)
	}
}

func TestEachRequestHasItsOwnConnectionWithoutKeepAlive(t *testing.T) {
	for _, keep := range []bool{false, true} {
		var accepted atomic.Int32
		seen := make(chan string, 100)
		addr := serve(t, func(c *net.TCPConn, req *http.Request, body []byte) bool {
			seen <- c.RemoteAddr().String()
			accepted.Add(1)
			return good(false)(c, req, body)
		})
		res := send(t, Config{Address: addr, Shapes: []Shape{Get("/")}, Clients: 1, KeepAlive: keep}, 10)
		close(seen)
		connections := make(map[string]bool)
		for a := range seen {
			connections[a] = true
		}
		want := 10
		if keep {
			want = 1
		}
		if len(connections) != want || len(res.Failed()) != 0 {
			t.Errorf("keep-alive %v: %d connections\n%s", keep, len(connections), res)
		}
	}
}

func TestAnIdleConnectionThatTheServerClosedIsReplaced(t *testing.T) {
	closed := make(chan struct{}, 10)
	addr := serve(t, func(c *net.TCPConn, req *http.Request, body []byte) bool {
		good(false)(c, req, body) // promises to keep the connection
		_ = c.Close()
		closed <- struct{}{}
		return false
	})
	c := connection{cfg: &Config{Network: "tcp", Address: addr, Timeout: time.Minute}, keep: true}
	defer c.close()
	shape := Get("/")
	for range 3 {
		if rec := c.exchange(&shape); rec.Failure != None || rec.Reused {
			t.Errorf("%+v", rec)
		}
		<-closed
		awaitEOF(t, &c)
	}
}

// awaitEOF waits for the server's FIN without consuming it.
func awaitEOF(t *testing.T, c *connection) {
	t.Helper()
	if _, err := c.reader.Peek(1); err != io.EOF {
		t.Fatalf("peek: %v", err)
	}
}

func TestARequestOnAResetConnectionFailsAndIsNotRetried(t *testing.T) {
	var requests atomic.Int32
	addr := serve(t, func(c *net.TCPConn, req *http.Request, body []byte) bool {
		if requests.Add(1)%2 == 0 {
			return reset(c)
		}
		return good(false)(c, req, body)
	})
	res := send(t, Config{Address: addr, Shapes: []Shape{Post("/", 10)}, Clients: 1, KeepAlive: true}, 10)
	failed := res.Failed()
	if len(failed) != 5 || res.Count()[Reset] != 5 || requests.Load() != 10 {
		t.Fatalf("%d requests came\n%s", requests.Load(), res)
	}
	for _, rec := range failed {
		if !rec.Reused {
			t.Errorf("%+v is not marked as reused", rec)
		}
	}
}

func TestASteadyRateCountsTheWaitFromTheDueTime(t *testing.T) {
	release := make(chan struct{})
	var first atomic.Bool
	addr := serve(t, func(c *net.TCPConn, req *http.Request, body []byte) bool {
		if !first.Swap(true) {
			<-release
		}
		return good(false)(c, req, body)
	})
	r, err := Start(Config{
		Network: "tcp", Address: addr, Shapes: []Shape{Get("/")},
		Clients: 1, Rate: 1000, MaxRequests: 50,
	})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	<-r.done
	res := r.Stop()
	for i, rec := range res.Records {
		if want := res.Began.Add(time.Duration(i) * time.Millisecond); !rec.Due.Equal(want) {
			t.Errorf("request %d was due at +%s", i, rec.Due.Sub(res.Began))
		}
	}
	// The second was due 1 ms after the first, but the only client was busy until the first was
	// answered.
	one, two := res.Records[0], res.Records[1]
	if two.Ended.Before(one.Ended) || two.Took() < two.Ended.Sub(two.Begun) {
		t.Errorf("the second's wait of %s does not include the time before it could be sent", two.Took())
	}
}

func TestStopEndsALoadThatHasNotReachedALimit(t *testing.T) {
	r, err := Start(Config{Network: "tcp", Address: serve(t, good(false)), Shapes: []Shape{Get("/")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WaitMore(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	sent, failed := r.Counts()
	res := r.Stop()
	if res.LimitReached || sent < 10 || failed != 0 || len(res.Records) < sent {
		t.Errorf("sent %d, failed %d\n%s", sent, failed, res)
	}
	if err := r.WaitMore(t.Context(), 1); err == nil {
		t.Error("waiting for more of a load that has ended does not fail")
	}
}

func TestALoadThatReachesItsTimeLimitReportsIt(t *testing.T) {
	r, err := Start(Config{
		Network: "tcp", Address: serve(t, good(false)), Shapes: []Shape{Get("/")},
		MaxDuration: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	<-r.done
	if res := r.Stop(); !res.LimitReached || !strings.Contains(res.String(), "ended by itself") {
		t.Error(res)
	}
}

func TestWaitingForTheLoadEndsWithItsContext(t *testing.T) {
	hang := make(chan struct{})
	addr := serve(t, func(*net.TCPConn, *http.Request, []byte) bool { <-hang; return false })
	r, err := Start(Config{Network: "tcp", Address: addr, Shapes: []Shape{Get("/")}, Clients: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.WaitMore(ctx, 1); err == nil {
		t.Error("no error")
	}
	close(hang)
	r.Stop()
}

func TestAnInvalidConfigIsAnError(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Network: "udp", Address: "127.0.0.1:1", Shapes: []Shape{Get("/")}},
		{Network: "tcp", Address: "127.0.0.1:1"},
	} {
		if _, err := Start(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
