package harness

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// onTerminal is how long a command on a terminal may take.
const onTerminal = 2 * time.Minute

// OnTerminal runs a command on a terminal of 80 columns, and returns everything that the command
// wrote to it, with the control sequences.
func (a *App) OnTerminal(args ...string) (output string, code int) {
	a.T.Helper()
	cmd := exec.Command(a.Binary, args...)
	cmd.Dir, cmd.Env = a.Dir, append(a.env(), "TERM=xterm-256color")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 80})
	a.must(err)
	defer func() { _ = f.Close() }()
	late := time.AfterFunc(onTerminal, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	data, err := io.ReadAll(f)
	if err != nil && !errors.Is(err, syscall.EIO) { // EIO: the last process has closed the terminal
		a.Fatalf("superctl %s: read the terminal: %v", strings.Join(args, " "), err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		a.Fatalf("superctl %s: %v", strings.Join(args, " "), err)
	}
	if !late.Stop() {
		a.Fatalf("superctl %s runs for more than %s:\n%s", strings.Join(args, " "), onTerminal, data)
	}
	return string(data), cmd.ProcessState.ExitCode()
}

// FinalLines returns what a terminal shows after the output: a line that was redrawn appears as it
// was drawn last. Colours stay.
func FinalLines(output string) (string, error) {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(output, "\r\n", "\n"), "\n") {
		if i := strings.LastIndex(line, "\r"); i >= 0 {
			if !strings.HasPrefix(line[i:], eraseLine) {
				return "", fmt.Errorf("a line is drawn over without being erased: %q", line)
			}
			line = line[i+len(eraseLine):]
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), nil
}

// eraseLine is how superctl redraws a line.
const eraseLine = "\r\x1b[K"
