package socket

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary runs itself as a process of an earlier daemon or of a stranger. An environment
// variable names what the child does. The child prints "ready" when it has done it, and ends when
// its standard input is closed.
const childDoes = "SOCKET_TEST_CHILD"

func TestMain(m *testing.M) {
	if does := os.Getenv(childDoes); does != "" {
		if err := child(strings.Fields(does)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(args []string) error {
	var fd int
	var err error
	a, err := ParseAddress(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "listen":
		if a.network == tcp {
			fd, err = listenTCP(a.tcp, 100)
		} else {
			fd, err = listenUnix(a.path, permissions{mode: 0o600, uid: -1, gid: -1}, 100)
		}
	case "publish": // as an earlier daemon: PATH.gN, and PATH a link to it
		if fd, err = listenUnix(a.path+".g"+args[2], permissions{mode: 0o600, uid: -1, gid: -1}, 100); err == nil {
			err = publish(a.path+".g"+args[2], a.path)
		}
	case "inherit": // as a daemon started by systemd
		fd, err = inheritAndStage(a)
	}
	if err != nil {
		return err
	}
	answer, _ := strconv.Atoi(args[2])
	w := &worker{file: os.NewFile(uintptr(fd), "listener"), done: make(chan struct{})}
	go w.run(answer)
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func inheritAndStage(a Address) (int, error) {
	if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
		return -1, err
	}
	in, err := Inherit()
	if err != nil {
		return -1, err
	}
	if os.Getenv("LISTEN_FDS") != "" {
		return -1, fmt.Errorf("LISTEN_FDS is still set")
	}
	g, err := New(Options{Name: "web", Address: a, Inherited: in})
	if err != nil {
		return -1, err
	}
	if err := g.Stage(1); err != nil {
		return -1, err
	}
	return g.FD(1)
}

// startChild starts a child, and returns its pid and a function that stops it. Any output other
// than "ready" is the error.
func startChild(t *testing.T, files []*os.File, env []string, does ...string) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childDoes+"="+strings.Join(does, " "), "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, env...)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = stdin.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("child %v: %q, %v", does, line, err)
	}
	return cmd.Process.Pid, stop
}

// rawFile returns a copy of fd for a child.
func rawFile(t *testing.T, fd int) *os.File {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	f := os.NewFile(uintptr(dup), "listener")
	t.Cleanup(func() { _ = f.Close() })
	return f
}
