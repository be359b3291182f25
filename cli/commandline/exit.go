package commandline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"superctl/api"
	"superctl/cli/terminal"
)

// UsageError is an error in the command line or the config (exit code 2).
type UsageError struct{ Err error }

// Error returns what is wrong.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the error without its meaning for the exit code.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// ExitError is the exit code of a command that has already printed everything.
type ExitError struct{ Code int }

// Error names the exit code.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Explain prints why a command has failed. With --json the reason is an object on stdout, too, unless the
// command has printed its own: so each command prints one, however it ends.
func Explain(stdout, stderr io.Writer, err error, exit int, asJSON bool) {
	if asJSON && !terminal.WroteJSON(stdout) {
		if line, bad := json.Marshal(api.Failure{Error: err.Error(), Exit: exit}); bad == nil {
			_ = terminal.WriteJSONLine(stdout, line) // stderr has the reason, too
		}
	}
	terminal.Prose(stderr, "superctl: %v", err)
}

// Interruptible returns a context that is canceled by Ctrl-C and SIGTERM.
func Interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
