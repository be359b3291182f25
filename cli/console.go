//go:build linux

package cli

import (
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/terminal"
)

// console has the outputs and the clock that all commands share.
type console struct {
	stdout, stderr io.Writer
	now            func() time.Time
}

// json prints a value as JSON.
func (c *console) json(v any) error { return terminal.WriteJSON(c.stdout, v) }

// newText returns a buffer for text in the width of the terminal, or unlimited with --wide.
func (c *console) newText(cc *cli.Context) *terminal.Text {
	if cc.Bool("wide") {
		return terminal.NewText(0)
	}
	return terminal.NewText(terminal.Columns(c.stdout))
}

// progress returns the progress display of a command; with --json it shows nothing.
func (c *console) progress(cc *cli.Context) *progress {
	if cc.Bool("json") {
		return silentProgress()
	}
	return newProgress(c.stderr, c.now)
}

// conclude prints the result of a command, as JSON or with show, and returns the error that sets
// the exit code.
func (c *console) conclude(cc *cli.Context, out any, result api.Result, show func()) error {
	if cc.Bool("json") {
		if err := c.json(out); err != nil {
			return err
		}
	} else {
		show()
	}
	if result != api.Done {
		return &outcomeError{result}
	}
	return nil
}

// outcomeError is a change that did not succeed and whose outcome was already printed.
type outcomeError struct{ result api.Result }

func (e *outcomeError) Error() string { return string(e.result) }

// verdictOf returns the sentences of an outcome that say why something has failed; out may be nil.
func verdictOf(out *api.Outcome) []string {
	if out == nil {
		return nil
	}
	return append([]string{out.Error}, out.Warnings...)
}

// errorText returns the text of an error, or "" for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
