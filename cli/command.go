package cli

import (
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/terminal"
)

// outcomeError is a change that did not succeed and whose outcome was already printed.
type outcomeError struct{ result api.Result }

func (e *outcomeError) Error() string { return string(e.result) }

// command has the outputs and the clock that all commands share.
type command struct {
	stdout, stderr io.Writer
	now            func() time.Time
}

// json prints a value as JSON.
func (c *command) json(v any) error { return terminal.WriteJSON(c.stdout, v) }

// newText returns a buffer for text in the width of the terminal, or unlimited with --wide.
func (c *command) newText(cc *cli.Context) *terminal.Text {
	if cc.Bool("wide") {
		return terminal.NewText(0)
	}
	return terminal.NewText(terminal.Columns(c.stdout))
}

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }
