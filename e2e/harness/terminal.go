package harness

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// OnTerminal runs a command on a terminal of 80 columns, and returns everything that the command
// wrote to it, with the control sequences.
func (a *App) OnTerminal(args ...string) (output string, code int) {
	a.T.Helper()
	return a.OnTerminalWith(nil, args...)
}

// OnTerminalWith is OnTerminal with further variables in the environment.
func (a *App) OnTerminalWith(env []string, args ...string) (output string, code int) {
	a.T.Helper()
	cmd := exec.Command(a.Binary, args...)
	cmd.Dir, cmd.Env = a.Dir, slices.Concat(a.env(), []string{"TERM=xterm-256color"}, env)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 80})
	a.must(err)
	defer func() { _ = f.Close() }()
	late := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
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
		a.Fatalf("superctl %s runs for more than %s:\n%s", strings.Join(args, " "), Patience, data)
	}
	return string(data), cmd.ProcessState.ExitCode()
}

// redraw matches how superctl erases what it draws again: the line of the cursor, or that line and
// some above it.
var redraw = regexp.MustCompile("\r\x1b\\[K|\x1b\\[([0-9]+)A\r\x1b\\[J")

// FinalLines returns what a terminal shows after the output: lines that were drawn again appear as
// they were drawn last. Colours stay.
func FinalLines(output string) (string, error) {
	output = strings.ReplaceAll(output, "\r\n", "\n")
	var shown string
	for {
		at := redraw.FindStringSubmatchIndex(output)
		if at == nil {
			break
		}
		above := 0
		if at[2] >= 0 {
			above, _ = strconv.Atoi(output[at[2]:at[3]]) // the pattern has only digits
		}
		shown = withoutLast(shown+output[:at[0]], above)
		output = output[at[1]:]
	}
	shown += output
	if strings.Contains(shown, "\r") {
		return "", fmt.Errorf("a line is drawn over without being erased: %q", shown)
	}
	return shown, nil
}

// withoutLast removes the last line and n lines above it.
func withoutLast(text string, n int) string {
	for range n {
		text = text[:max(0, strings.LastIndexByte(text, '\n'))]
	}
	return text[:strings.LastIndexByte(text, '\n')+1]
}
