// Package system is what a takeover changes on the machine: it runs commands as root, and writes
// drop-ins of units.
package system

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// lastWords is how long a command has to end after SIGTERM.
const lastWords = 5 * time.Second

// Run runs a command with root's usual environment. Its error has the command and what it printed.
// Ctrl-C at the terminal does not reach the command; the end of ctx does.
func Run(ctx context.Context, words ...string) error {
	var out bytes.Buffer
	return run(ctx, &out, &out, words)
}

// Output runs a command as Run does, and returns what it printed.
func Output(ctx context.Context, words ...string) (stdout, stderr string, err error) {
	var out, errors bytes.Buffer
	err = run(ctx, &out, &errors, words)
	return out.String(), errors.String(), err
}

// run runs a command. Its error has what the command printed to stderr.
func run(ctx context.Context, stdout, stderr *bytes.Buffer, words []string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = stdout, stderr, "/"
	cmd.Env = []string{"PATH=" + path, "LANG=C.UTF-8", "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = lastWords
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text != "" {
			text = ": " + text
		}
		return fmt.Errorf("%s: %w%s", strings.Join(words, " "), err, text)
	}
	return nil
}

// path is root's usual PATH.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
