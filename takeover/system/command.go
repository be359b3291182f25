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
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = lastWords
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		if text != "" {
			text = ": " + text
		}
		return fmt.Errorf("%s: %w%s", strings.Join(words, " "), err, text)
	}
	return nil
}
