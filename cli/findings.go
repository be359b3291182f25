package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"superctl/api"
)

// finding is one thing that `check` has looked at.
type finding struct {
	Status string `json:"status"` // ok, warn or fail
	Text   string `json:"text"`
}

// findings collects what `check` finds, and shows each for people as it is found.
type findings struct {
	App      string    `json:"app"`
	User     string    `json:"user"`           // as whom it has looked
	Unit     string    `json:"unit,omitempty"` // in whose sandbox
	OK       bool      `json:"ok"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	List     []finding `json:"findings"`

	out   io.Writer
	paint palette
	// foreign says that the service runs as another user, or in a sandbox: what is forbidden here
	// may be allowed there.
	foreign bool
}

func (f *findings) ok(format string, args ...any) { f.add("ok", fmt.Sprintf(format, args...)) }

func (f *findings) warn(format string, args ...any) { f.add("warn", fmt.Sprintf(format, args...)) }

// report adds a failure, or what is good if there is none.
func (f *findings) report(err error, good string) {
	switch {
	case err == nil:
		f.add("ok", good)
	case f.foreign && forbidden(err):
		f.add("warn", err.Error())
	default:
		f.add("fail", err.Error())
	}
}

// forbidden reports whether an error may be another user's only.
func forbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

func (f *findings) add(status, text string) {
	f.List = append(f.List, finding{status, text})
	label := f.paint.green("ok  ")
	switch status {
	case "warn":
		f.Warnings++
		label = f.paint.yellow("warn")
	case "fail":
		f.Problems++
		label = f.paint.red("FAIL")
	}
	fmt.Fprintf(f.out, "%s  %s\n", label, text)
}

// concludeCheck ends a check: the verdict for people, or all of it as JSON.
func (c *command) concludeCheck(f *findings, asJSON bool) error {
	if len(f.List) == 0 {
		return nil // nothing was looked at
	}
	f.OK = f.Problems == 0
	if asJSON {
		if err := c.json(f); err != nil {
			return err
		}
		if !f.OK {
			return &outcomeError{api.Aborted}
		}
		return nil
	}
	if !f.OK {
		return fmt.Errorf("check: %s", count(f.Problems, "problem", "problems"))
	}
	text := f.paint.green("ok")
	if f.Warnings > 0 {
		text += ", " + count(f.Warnings, "warning", "warnings")
	}
	fmt.Fprintf(c.stdout, "%s: %s\n", f.App, text)
	return nil
}
