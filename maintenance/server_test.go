package maintenance

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/api"
)

// serve serves a page on listeners of TCP and of a unix socket until the test ends, and returns their
// addresses and a function that ends it early.
func serve(t *testing.T, p Page) (addresses map[string]net.Addr, end func()) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "page.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, []net.Listener{tcp, unix}) }()
	done := false
	end = func() {
		if cancel(); !done {
			done = true
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(end)
	return map[string]net.Addr{"tcp": tcp.Addr(), "unix": unix.Addr()}, end
}

func dial(t *testing.T, at net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(at.Network(), at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

type answer struct {
	status       int
	header       http.Header
	body         string
	says, closed bool // that the connection ends, and whether it has
}

// ask sends a request, byte for byte, and reads the answer to the end of the connection.
func ask(t *testing.T, at net.Addr, method, request string) answer {
	t.Helper()
	conn := dial(t, at)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	got, err := read(conn, method)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func read(conn net.Conn, method string) (answer, error) {
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return answer{}, err
	}
	_, err = r.ReadByte()
	return answer{resp.StatusCode, resp.Header, string(body), resp.Close, errors.Is(err, io.EOF)}, nil
}

// packet is a request of the uwsgi protocol, as nginx sends it.
func packet(vars ...string) string {
	var all []byte
	for _, v := range vars {
		all = binary.LittleEndian.AppendUint16(all, uint16(len(v)))
		all = append(all, v...)
	}
	header := binary.LittleEndian.AppendUint16([]byte{0}, uint16(len(all)))
	return string(append(append(header, 0), all...))
}

func TestEveryRequestGetsThePage(t *testing.T) {
	page := Page{Body: []byte("<p>back at noon</p>"), RetryAfter: 90*time.Second + time.Millisecond}
	addresses, _ := serve(t, page)
	for name, c := range map[string]struct{ method, request string }{
		"GET":   {"GET", "GET /any/path?x=1 HTTP/1.1\r\nHost: shop\r\n\r\n"},
		"HEAD":  {"HEAD", "HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n"},
		"POST":  {"POST", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello"},
		"1.0":   {"GET", "GET / HTTP/1.0\r\n\r\n"},
		"uwsgi": {"GET", packet("REQUEST_METHOD", "GET", "REQUEST_URI", "/any", "QUERY_STRING", "")},
		"uwsgi HEAD": {
			"HEAD", packet("REQUEST_METHOD", "HEAD", "REQUEST_URI", "/"),
		},
		"uwsgi POST": {"POST", packet("REQUEST_METHOD", "POST", "CONTENT_LENGTH", "5") + "hello"},
		"uwsgi with many variables": {
			"GET", packet("REQUEST_METHOD", "GET", "HTTP_COOKIE", strings.Repeat("c", 60000)),
		},
	} {
		for network, at := range addresses {
			t.Run(name+" "+network, func(t *testing.T) {
				got := ask(t, at, c.method, c.request)
				want := string(page.Body)
				if c.method == "HEAD" {
					want = ""
				}
				if got.status != http.StatusServiceUnavailable || got.body != want || !got.says || !got.closed {
					t.Errorf("%+v", got)
				}
				for header, want := range map[string]string{
					"Retry-After": "91", "Cache-Control": "no-store",
					"Content-Type": "text/html; charset=utf-8", "Content-Length": "19",
				} {
					if value := got.header.Get(header); value != want {
						t.Errorf("%s: %q, want %q", header, value, want)
					}
				}
			})
		}
	}
}

func TestAClientThatIsSendingALargeBodyGetsThePage(t *testing.T) {
	addresses, _ := serve(t, Page{Body: defaultPage, RetryAfter: time.Minute})
	body := strings.Repeat("x", 200<<10)
	for name, request := range map[string]string{
		"http":  "POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: 204800\r\n\r\n" + body,
		"uwsgi": packet("REQUEST_METHOD", "POST", "CONTENT_LENGTH", "204800") + body,
	} {
		for network, at := range addresses {
			t.Run(name+" "+network, func(t *testing.T) {
				if got := ask(t, at, "POST", request); got.status != http.StatusServiceUnavailable || got.body != string(defaultPage) {
					t.Errorf("status %d, %d bytes", got.status, len(got.body))
				}
			})
		}
	}
}

func TestABrokenUwsgiPacketEndsItsConnectionOnly(t *testing.T) {
	addresses, _ := serve(t, Page{Body: defaultPage, RetryAfter: time.Minute})
	for network, at := range addresses {
		conn := dial(t, at)
		if _, err := conn.Write([]byte{0, 3, 0, 0, 9, 9, 'x'}); err != nil { // a name that is longer than its packet
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err == nil && len(answer) > 0 && !strings.Contains(string(answer), "400") {
			t.Errorf("%s: %q", network, answer)
		}
		if got := ask(t, at, "GET", packet("REQUEST_METHOD", "GET")); got.status != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d", network, got.status)
		}
	}
}

func TestAConnectionThatWasAcceptedIsAnsweredAtTheEnd(t *testing.T) {
	addresses, end := serve(t, Page{Body: defaultPage, RetryAfter: time.Minute})
	conns := make(map[string]net.Conn)
	for network, at := range addresses {
		conns[network] = dial(t, at)
		if _, err := io.WriteString(conns[network], "GET / HTTP/1.1\r\n"); err != nil { // not all of it
			t.Fatal(err)
		}
		ask(t, at, "GET", "GET / HTTP/1.0\r\n\r\n") // the one before was accepted
	}
	answers := make(chan error, len(conns))
	for _, conn := range conns {
		go func() {
			_, err := io.WriteString(conn, "Host: shop\r\n\r\n")
			if err == nil {
				var got answer
				if got, err = read(conn, http.MethodGet); err == nil && got.status != http.StatusServiceUnavailable {
					err = errors.New(got.body)
				}
			}
			answers <- err
		}()
	}
	end()
	for range conns {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestAPageIsRefusedThatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, want := range map[string]string{
		write("large", api.MaintenancePageLimit+1): "larger than 256 KiB",
		write("empty", 0):                          "is empty",
		dir:                                        "not a regular file",
		filepath.Join(dir, "missing"):              "no such file",
	} {
		if _, err := ReadPage(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if body, err := ReadPage(write("largest", api.MaintenancePageLimit)); err != nil || len(body) != api.MaintenancePageLimit {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}
