//go:build linux

// Package console is what the commands on one app print through: the two outputs and the clock, the
// progress of a change, the JSON of --json, and the outcome that sets the exit code. It also reads the
// words of a client that answers on standard input.
package console

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/terminal"
)

// Console has the outputs and the clock that all commands share.
type Console struct {
	Stdout, Stderr io.Writer        // each a terminal.Screen, or a writer in tests
	Now            func() time.Time // for ages and durations
}

// JSON prints a value as JSON.
func (c *Console) JSON(v any) error { return terminal.WriteJSON(c.Stdout, v) }

// NewText returns a buffer for text in the width of the terminal, or unlimited with --wide.
func (c *Console) NewText(cc *cli.Context) *terminal.Text {
	if cc.Bool("wide") {
		return terminal.NewText(0)
	}
	return terminal.NewText(terminal.Columns(c.Stdout))
}

// Progress returns the progress display of a command; with --json it shows nothing.
func (c *Console) Progress(cc *cli.Context) *Progress {
	if cc.Bool("json") {
		return silentProgress()
	}
	return newProgress(c.Stderr, c.Now)
}

// Conclude prints the result of a command, as JSON or with show, and returns the error that sets
// the exit code. done says what is true of a command with the result Done, also if its output cannot be
// written: "the switch is done".
func (c *Console) Conclude(cc *cli.Context, out any, result api.Result, done string, show func()) error {
	if cc.Bool("json") {
		_ = c.JSON(out) // the error is asked for below
	} else {
		show()
	}
	if result != api.Done {
		return &OutcomeError{result}
	}
	if err := terminal.WriteError(c.Stdout); err != nil && !errors.Is(err, errStalled) {
		return &UnwrittenError{Done: done, Err: err}
	}
	return nil
}

// UnwrittenError is a command whose output could not be written.
type UnwrittenError struct {
	Done string // what the command has done or found in spite of it; "" for one that only shows something
	Err  error
}

// Error names the reason, and what was done in spite of it.
func (e *UnwrittenError) Error() string {
	if e.Done == "" {
		return fmt.Sprintf("the output could not be written: %v", e.Err)
	}
	return fmt.Sprintf("%s, but the output could not be written: %v", e.Done, e.Err)
}

// Unwrap returns the reason.
func (e *UnwrittenError) Unwrap() error { return e.Err }

// OutcomeError is a change that did not succeed and whose outcome was already printed.
type OutcomeError struct{ Result api.Result }

// Error names the result.
func (e *OutcomeError) Error() string { return string(e.Result) }

// VerdictOf returns the sentences of an outcome that say why something has failed; out may be nil.
func VerdictOf(out *api.Outcome) []string {
	if out == nil {
		return nil
	}
	return append([]string{out.Error}, out.Warnings...)
}

// DoneOf says that a change is done, for Conclude; out is not nil.
func DoneOf(out *api.Outcome, dryRun bool) string {
	switch {
	case dryRun:
		return "nothing was changed, as asked"
	case !out.Changed:
		return "there was nothing to do for the " + out.Kind
	}
	return "the " + out.Kind + " is done"
}

// ErrorText returns the text of an error, or "" for none.
func ErrorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
