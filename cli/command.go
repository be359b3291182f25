package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
)

// The exit codes (DESIGN 9).

const (
	exitDone        = 0
	exitAborted     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitBusy        = 4
	exitReverted    = 5
)

// usageError is an error in the command line or the config (exit code 2).

type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// outcomeError is a change that did not succeed and whose outcome was already printed.

type outcomeError struct{ result api.Result }

func (e *outcomeError) Error() string { return string(e.result) }

// command has the outputs and the clock that all commands share.

type command struct {
	stdout, stderr io.Writer
	now            func() time.Time
}

// printer prints what a command has found out and done, for people.

type printer struct{ *command }

func (c *command) print() printer { return printer{c} }

// reorder moves the options of a command before its arguments, because the library ends the options

// at the first argument and people write superctl switch r42 --json. It does not touch words after

// `--`. --app and --config are accepted anywhere.

// commandLine is a command line whose words are sorted by kind.

// take sorts the first word of rest, with the value of an option, and returns the number of words

// that it took.

// arguments refuses a wrong number of arguments and shows the usage of the command.

// interruptible returns a context that is canceled by Ctrl-C and SIGTERM.

func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// helpWords turns the words version, help and help COMMAND into --version and --help.

// missingArgument returns the name of the first missing argument, taken from the usage text.

// exitError is the exit code of a command that has already printed everything.

type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print the outcome as JSON, and nothing else"}
}

func forceFlag() cli.Flag {
	return &cli.BoolFlag{
		Name: "force",
		Usage: "continue even if the database has migrations that the release does not know, " +
			"or if the migrations cannot be compared ([django]); overrides no other check",
	}
}

func (c *command) json(v any) error {
	enc := json.NewEncoder(terminalJSON{raw(c.stdout)})
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// failureLog prints the last lines of the program that failed. The lines of a hook were

// already shown while it ran.

// log prints the last lines of the program that failed.
