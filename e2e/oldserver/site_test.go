package oldserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
	"superctl/load"
	"superctl/takeover/running"
)

// site is an address on which an old server serves, and a new one next to it.
type site struct {
	t       *testing.T
	dir     string
	address string // host:port, or a path
	old     *exec.Cmd
	found   *running.Server // as long as only the old server has its listener
	output  string          // of both servers
	share   int             // our duplicate of the old listener, TCP only
	next    int             // the listener of the new server
}

// releases makes the releases "old" and "new" once; a server's answers name its release.
var releases = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(run.Dir, "releases")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, errors.Join(run.Apps.Release(filepath.Join(dir, "old"), behaviour),
		run.Apps.Release(filepath.Join(dir, "new"), behaviour))
})

// serve starts an old server. The command's {address} is the address in the server's words.
func serve(t *testing.T, command string, overUnix bool) *site {
	t.Helper()
	return serveOn(t, freeAddress(t), command, overUnix)
}

func serveOn(t *testing.T, address, command string, overUnix bool) *site {
	t.Helper()
	dir, err := os.MkdirTemp(run.Dir, "") // a short name: the path of a unix socket is limited
	s := &site{t: t, dir: dir, share: -1, next: -1}
	s.must(err)
	t.Cleanup(func() {
		harness.EndAll(s.dir)
		for _, fd := range []int{s.share, s.next} {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
	})
	s.output = filepath.Join(s.dir, "output")
	s.address = address
	bind, uvicorn := s.address, "--port "+s.address[strings.LastIndex(s.address, ":")+1:]
	if overUnix {
		s.address = filepath.Join(s.dir, "s")
		bind, uvicorn = "unix:"+s.address, "--uds "+s.address
	}
	command = strings.NewReplacer("{bind}", bind, "{uvicorn}", uvicorn, "{address}", s.address).Replace(command)
	s.old = s.start("old", command, -1)
	s.await(func() bool { conn, err := s.dial(); return err == nil && conn.Close() == nil })
	s.found, err = running.FindPID(context.Background(), s.old.Process.Pid)
	s.must(err)
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts a server of a release, with a listener as descriptor 3.
func (s *site) start(release, command string, listener int) *exec.Cmd {
	s.t.Helper()
	dir, err := releases()
	s.must(err)
	dir = filepath.Join(dir, release)
	out, err := os.OpenFile(s.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	s.must(err)
	defer out.Close()
	words := strings.Fields(command)
	cmd := exec.Command(filepath.Join(dir, "venv", "bin", words[0]), words[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), "SHOP_E2E_RUN="+s.dir, "PYTHONDONTWRITEBYTECODE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if listener >= 0 {
		copied, err := unix.Dup(listener)
		s.must(err)
		file := os.NewFile(uintptr(copied), "listener")
		defer file.Close()
		cmd.ExtraFiles = []*os.File{file}
	}
	s.must(cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return cmd
}

// await waits until ok.
func (s *site) await(ok func() bool) {
	s.t.Helper()
	harness.Eventually(s.t, "what the test waits for", ok, func() string {
		out, _ := os.ReadFile(s.output)
		return fmt.Sprintf("the servers print:\n%s", out)
	})
}

func (s *site) network() string {
	if strings.HasPrefix(s.address, "/") {
		return "unix"
	}
	return "tcp"
}

func (s *site) dial() (net.Conn, error) { return net.Dial(s.network(), s.address) }

// filter attaches a program that returns a constant.
func filter(fd, option int, result uint32) error {
	program, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: result}})
	if err != nil {
		return err
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &unix.SockFprog{
		Len: uint16(len(program)), Filter: (*unix.SockFilter)(asSockFilter(program)),
	})
}

// replace starts the new server and turns new connections to it.
func (s *site) replace() {
	s.t.Helper()
	if s.network() == "unix" {
		s.replaceUnix()
	} else {
		s.replaceTCP()
	}
}

func (s *site) replaceTCP() {
	s.t.Helper()
	listener := s.found.Listeners[0]
	pidfd, err := unix.PidfdOpen(listener.PID, 0)
	s.must(err)
	s.share, err = unix.PidfdGetfd(pidfd, listener.FD, 0)
	s.must(errors.Join(err, unix.Close(pidfd)))
	s.must(unix.SetsockoptInt(s.share, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	s.next, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	s.must(unix.SetsockoptInt(s.next, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	s.must(unix.SetsockoptInt(s.next, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	at := listener.Addr
	s.must(unix.Bind(s.next, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}))
	// Deaf until the group has its filter.
	s.must(filter(s.next, unix.SO_ATTACH_FILTER, 0))
	s.must(unix.Listen(s.next, 1024))
	s.must(filter(s.next, unix.SO_ATTACH_REUSEPORT_CBPF, 0))
	s.must(unix.SetsockoptInt(s.next, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	s.start("new", "uvicorn bare.asgi:application --fd 3", s.next)
	s.must(filter(s.next, unix.SO_ATTACH_REUSEPORT_CBPF, 1))
	s.await(func() bool {
		info, err := unix.GetsockoptTCPInfo(s.share, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err == nil && info.Unacked == 0 // the length of the accept queue
	})
}

func (s *site) replaceUnix() {
	s.t.Helper()
	var err error
	s.next, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	own := s.address + ".new"
	s.must(unix.Bind(s.next, &unix.SockaddrUnix{Name: own}))
	s.must(unix.Listen(s.next, 1024))
	s.start("new", "uvicorn bare.asgi:application --fd 3", s.next)
	s.must(os.Link(own, own+".link"))
	s.must(os.Rename(own+".link", s.address))
}

// gone reports whether no process of the old server runs.
func (s *site) gone(pids []int) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, after, ok := strings.Cut(string(stat), ") "); !ok || after[0] != 'Z' {
			return false
		}
	}
	return true
}

// load starts clients of which half keep their connections.
func (s *site) load() *load.Run {
	s.t.Helper()
	get, post, slow := load.Get("/"), load.Post("/echo", 2<<10), load.Get("/slow?s=0.3")
	get.Weight, post.Weight = 20, 20
	l, err := load.Start(load.Config{
		Network: s.network(), Address: s.address, Shapes: []load.Shape{get, post, slow},
		Rate: 400, Clients: 24, FreshClients: 12, KeepAlive: true, MaxDuration: harness.Patience, Timeout: time.Minute,
	})
	s.must(err)
	return l
}
