package oldserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
	"superctl/takeover/oldserver"
	"superctl/takeover/running"
)

// kept is a connection that its client keeps open.
type kept struct {
	s    *site
	conn net.Conn
	r    *bufio.Reader
}

func (s *site) keep() *kept {
	s.t.Helper()
	conn, err := s.dial()
	s.must(err)
	s.t.Cleanup(func() { _ = conn.Close() })
	s.must(conn.SetDeadline(time.Now().Add(harness.Patience)))
	return &kept{s, conn, bufio.NewReader(conn)}
}

func (k *kept) send(text string) {
	k.s.t.Helper()
	_, err := io.WriteString(k.conn, text)
	k.s.must(err)
}

const request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

// answer reads an answer to its end, and returns which release gave it.
func (k *kept) answer() (release string, closes bool) {
	k.s.t.Helper()
	resp, err := http.ReadResponse(k.r, nil)
	k.s.must(err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	k.s.must(err)
	return resp.Header.Get("X-Release"), resp.Close
}

// age returns how long ago the last bytes arrived.
func (k *kept) age() time.Duration {
	raw, err := k.conn.(*net.TCPConn).SyscallConn()
	k.s.must(err)
	var info *unix.TCPInfo
	var bad error
	k.s.must(raw.Control(func(fd uintptr) { info, bad = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	k.s.must(bad)
	return time.Duration(info.Last_data_recv) * time.Millisecond
}

func (s *site) stop() oldserver.Report {
	s.t.Helper()
	ctx, cancel := harness.Limited(context.Background())
	defer cancel()
	report, err := oldserver.Stop(ctx, s.found, oldserver.Options{})
	s.must(err)
	return report
}

// Each front in which uvicorn, which closes idle connections when it stops, can be.
func onBoth(t *testing.T, test func(t *testing.T, overUnix bool)) {
	t.Run("tcp", func(t *testing.T) { test(t, false) })
	t.Run("unix", func(t *testing.T) { test(t, true) })
}

const uvicorn = "uvicorn {uvicorn} bare.asgi:application"

func TestTheNextRequestOfAKeptConnectionReachesTheNewServer(t *testing.T) {
	s := serve(t, uvicorn, false)
	k := s.keep()
	k.send(request)
	if release, closes := k.answer(); release != "old" || closes {
		t.Fatalf("answered by %q, closes %v", release, closes)
	}
	s.replace()
	if report := s.stop(); report.Rescued != 1 {
		t.Errorf("%+v", report)
	}
	k.send(request)
	if release, closes := k.answer(); release != "new" || !closes {
		t.Errorf("answered by %q, closes %v", release, closes)
	}
}

func TestAnAnswerInProgressIsFinishedByTheOldServer(t *testing.T) {
	onBoth(t, func(t *testing.T, overUnix bool) {
		s := serve(t, uvicorn, overUnix)
		k := s.keep()
		gate := s.dir + "/gate"
		k.send("GET /slow?s=0&until=" + gate + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		s.replace()
		s.await(func() bool { return s.readAll(k) })
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			s.stop()
		}()
		s.await(func() bool { return !s.listens() })
		s.must(os.WriteFile(gate, nil, 0o644))
		if release, _ := k.answer(); release != "old" {
			t.Errorf("answered by %q", release)
		}
		<-stopped
		// The old server is gone, and nothing keeps the connection from ending.
		if _, err := k.r.ReadByte(); err != io.EOF {
			t.Errorf("read after the answer: %v", err)
		}
	})
}

// readAll reports whether the old server has read what was sent.
func (s *site) readAll(*kept) bool {
	out, err := exec.Command("ss", "-Hn", "state", "established").Output()
	s.must(err)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) > 3 && (f[3] == s.address || strings.Contains(line, s.address)) && f[1] != "0" {
			return false
		}
	}
	return true
}

// listens reports whether the old server has its listener open.
func (s *site) listens() bool {
	for _, l := range s.found.Listeners {
		open, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", l.PID, l.FD))
		if err == nil && open == fmt.Sprintf("socket:[%d]", l.Inode) {
			return true
		}
	}
	return false
}

func TestAHalfReadRequestEndsWithTheOldServer(t *testing.T) {
	s := serve(t, uvicorn, false)
	k := s.keep()
	k.send(request)
	k.answer()
	// The kernel notes times in ticks of up to 10 ms. Within one it does not tell an answered request
	// from one that arrived after the answer.
	s.await(func() bool { return k.age() > 20*time.Millisecond })
	k.send("GET / HTTP/1.1\r\nHost:")
	s.await(func() bool { return s.readAll(k) })
	s.replace()
	s.stop()
	if n, err := k.r.ReadByte(); err != io.EOF {
		t.Errorf("read %q, %v", n, err)
	}
}

func TestWhatIsNotHTTPEndsWithTheOldServer(t *testing.T) {
	s := serve(t, uvicorn, false)
	k := s.keep()
	k.send(request)
	k.answer()
	s.replace()
	s.stop()
	k.send("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client says hello\r\n")
	if n, err := k.r.ReadByte(); err == nil {
		t.Errorf("answered %q", n)
	}
}

// stopServer is the variable that makes this program a command that stops the server that it
// describes.
const stopServer = "SHOP_E2E_STOP"

func stopAsCommand(server string) int {
	var found running.Server
	err := json.Unmarshal([]byte(server), &found)
	if err == nil {
		_, err = oldserver.Stop(context.Background(), &found, oldserver.Options{Progress: func(step string) { fmt.Println(step) }})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestAStopIsFinishedWhenItsCommandIsKilled(t *testing.T) {
	s := serve(t, "uwsgi --master --need-app --processes 2 --module bare.wsgi --http-socket {address}", false)
	s.replace()
	pids, err := s.found.PIDs()
	s.must(err)
	busy := s.keep()
	gate := s.dir + "/gate"
	busy.send("GET /slow?s=0&until=" + gate + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
	server, err := json.Marshal(s.found)
	s.must(err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), stopServer+"="+string(server), "SHOP_E2E_RUN="+s.dir)
	steps, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	_, err = bufio.NewReader(steps).ReadString('\n') // the stop has begun
	s.must(err)
	s.must(cmd.Process.Kill())
	_ = cmd.Wait()
	s.must(os.WriteFile(gate, nil, 0o644))
	s.await(func() bool { return s.gone(pids) })
}
