package site

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"superctl/e2e/harness"
	"superctl/load"
)

// screen is a real terminal of 80x24 on which a command runs.
type screen struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File // the end that the command does not have
	before   unix.Termios
	wrote    bytes.Buffer
	mu       sync.Mutex
	ended    chan error
}

// startTop starts `superctl top` on a terminal. The terminal's own end stays open here, so that its
// settings can be read after the command.
func startTop(t *testing.T, a *harness.App) *screen {
	t.Helper()
	ours, theirs, err := pty.Open()
	must(t, err)
	must(t, pty.Setsize(ours, &pty.Winsize{Rows: 24, Cols: 80}))
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	s := &screen{t: t, terminal: ours, ended: make(chan error, 1)}
	s.before = s.settings()
	s.cmd = exec.Command(a.Binary, "top")
	s.cmd.Env = []string{"RUNTIME_DIRECTORY=" + a.Path("run"), "TERM=xterm-256color", "PATH=" + os.Getenv("PATH")}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs, theirs, theirs
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	must(t, s.cmd.Start())
	go func() { _, _ = io.Copy(s, ours) }() // ends when the terminal is closed
	go func() { s.ended <- s.cmd.Wait() }()
	return s
}

// Write takes what the command writes to the terminal.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrote.Write(p)
}

func (s *screen) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrote.String()
}

// shown returns the newest whole screen, without colours.
func (s *screen) shown() string {
	screens := strings.Split(s.output(), "\x1b[H")
	if len(screens) < 3 {
		return ""
	}
	return colours.ReplaceAllString(strings.NewReplacer("\x1b[K", "", "\x1b[J", "").Replace(screens[len(screens)-2]), "")
}

func (s *screen) settings() unix.Termios {
	s.t.Helper()
	got, err := unix.IoctlGetTermios(int(s.terminal.Fd()), unix.TCGETS)
	must(s.t, err)
	return *got
}

// restored checks that the command ended with 0 and left the terminal as it was.
func (s *screen) restored(how string) {
	s.t.Helper()
	var exit *exec.ExitError
	if err := <-s.ended; err != nil && !errors.As(err, &exit) || s.cmd.ProcessState.ExitCode() != 0 {
		s.t.Errorf("%s: %v\n%q", how, err, s.output())
	}
	if after := s.settings(); after != s.before {
		s.t.Errorf("%s: the settings of the terminal are %+v, before %+v", how, after, s.before)
	}
	harness.Eventually(s.t, how+": the screen before is back, with its cursor", func() bool {
		return strings.HasSuffix(s.output(), "\x1b[?7h\x1b[?25h\x1b[?1049l")
	})
}

func TestTopShowsEachGenerationAndGivesTheTerminalBack(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `standby = "1h"`})
	a.Releases("r1", "r2")
	a.Start("r1")
	r := a.Load(load.Config{Clients: 4, Rate: 100, KeepAlive: true, Shapes: []load.Shape{load.Get("/")}})
	s := startTop(t, a)
	row := func(state, release string) func() bool {
		line := regexp.MustCompile(`(?m)^(` + a.Name + `| +) +` + release + ` +` + state + ` +[0-9.]+ +0\.0 % +[0-9.]+ m?s +[0-9.]+ m?s +\d+ +[0-9.]+ MB +0\r?$`)
		return func() bool { return line.MatchString(s.shown()) }
	}
	harness.Eventually(t, "the live release is shown with its rates", row("live", "r1"))
	a.Command("switch", "r2").Want(0)
	harness.Eventually(t, "the new release is shown as live", row("live", "r2"))
	harness.Eventually(t, "the old release is on standby", func() bool { return strings.Contains(s.shown(), "standby") })
	a.Lossless(r)
	lines := strings.Split(s.shown(), "\r\n")
	for _, line := range lines {
		if len(line) > 80 || len(lines) > 24 {
			t.Errorf("it does not fit on 80x24:\n%s", s.shown())
		}
	}
	_, err := s.terminal.WriteString("q")
	must(t, err)
	s.restored("q")

	for how, end := range map[string]func(s *screen) error{
		"Ctrl-C":  func(s *screen) error { _, err := s.terminal.WriteString("\x03"); return err },
		"SIGTERM": func(s *screen) error { return s.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(s *screen) error { return s.cmd.Process.Signal(syscall.SIGHUP) },
		"SIGQUIT": func(s *screen) error { return s.cmd.Process.Signal(syscall.SIGQUIT) },
	} {
		s := startTop(t, a)
		harness.Eventually(t, "a screen is shown before "+how, func() bool { return strings.Contains(s.shown(), "r2") })
		must(t, s.cmd.Process.Signal(syscall.SIGTSTP)) // does not stop it in the middle
		must(t, end(s))
		s.restored(how)
	}
	a.Command("top").Want(2).Says("top needs a terminal", "superctl ls")
}
