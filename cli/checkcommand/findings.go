//go:build linux

package checkcommand

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"superctl/api"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/plain"
)

// finding is the result of one check.
type finding struct {
	Status string `json:"status"` // ok, warn or fail
	Text   string `json:"text"`
}

// findings collects the results of `superctl check` and prints each as it is added.
type findings struct {
	App      string    `json:"app"`
	User     string    `json:"user"`           // the user that the check ran as
	Unit     string    `json:"unit,omitempty"` // the unit whose sandbox it ran in
	OK       bool      `json:"ok"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	List     []finding `json:"findings"`

	out   io.Writer
	paint terminal.Palette
	// lenient reports whether the service runs as another user or in a sandbox, so that a denied
	// access is only a warning: the service may be allowed to do it.
	lenient bool
}

func (f *findings) ok(format string, args ...any) { f.add("ok", fmt.Sprintf(format, args...)) }

func (f *findings) warn(format string, args ...any) { f.add("warn", fmt.Sprintf(format, args...)) }

// report adds a failure, or the text good if err is nil. Each of several errors is a failure of its
// own.
func (f *findings) report(err error, good string) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			f.report(one, "")
		}
		return
	}
	switch {
	case err == nil:
		f.add("ok", good)
	case f.lenient && forbidden(err):
		f.add("warn", err.Error())
	default:
		f.add("fail", err.Error())
	}
}

// forbidden reports whether an error comes from missing permissions, which another user may have.
func forbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

func (f *findings) add(status, text string) {
	f.List = append(f.List, finding{status, text})
	label := f.paint.Green("ok  ")
	switch status {
	case "warn":
		f.Warnings++
		label = f.paint.Yellow("warn")
	case "fail":
		f.Problems++
		label = f.paint.Red("FAIL")
	}
	fmt.Fprintln(f.out, terminal.Wrap(label+"  "+text, terminal.Columns(f.out), len("FAIL  ")))
}

// check prints the verdict of a check, or all findings as JSON, and returns the error that
// sets the exit code.
func (pr printer) check(f *findings, asJSON bool) error {
	if len(f.List) == 0 {
		return nil // nothing was checked
	}
	f.OK = f.Problems == 0
	if asJSON {
		if err := pr.JSON(f); err != nil {
			return err
		}
		if !f.OK {
			return &console.OutcomeError{Result: api.Aborted}
		}
		return nil
	}
	if !f.OK {
		return fmt.Errorf("check: %s", plain.Count(f.Problems, "problem", "problems"))
	}
	text := f.paint.Green("ok")
	if f.Warnings > 0 {
		text += ", " + plain.Count(f.Warnings, "warning", "warnings")
	}
	terminal.Prose(pr.Stdout, "%s: %s", f.App, text)
	return nil
}
