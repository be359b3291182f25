// Package django asks a release of a Django project about its migrations.
//
// What it asks with is a program that the release's own interpreter runs. It changes neither the
// release nor its databases.
package django

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

//go:embed inspect.py
var program string

// mark begins a line of the program's answer; all other lines are the project's own.
const mark = "@superctl "

// lastLines is how much is kept of what a project writes before it fails.
const lastLines = 20

// Project is where a release has its Django project, and which databases it has.
type Project struct {
	Manage    string   `json:"manage"` // in the release
	Databases []string `json:"databases"`
	Migrates  bool     `json:"migrates"` // its `before` hooks run migrate
}

// Run runs the release's interpreter with these arguments and hands on what it writes.
type Run func(ctx context.Context, args []string, line func(string)) error

// State is how the databases are, as the release sees it. The migrations are named APP.NAME.
type State struct {
	Unknown []string // applied, and the release does not have them
	Missing []string // not applied
	Plan    []string // what `migrate --plan` says, when there are missing ones
}

// Inspect asks a release about the state of its databases.
func (p Project) Inspect(ctx context.Context, run Run) (State, error) {
	var st State
	err := p.ask(ctx, run, nil, func(kind, text string) error {
		switch kind {
		case "unknown":
			st.Unknown = append(st.Unknown, text)
		case "missing":
			st.Missing = append(st.Missing, text)
		case "plan":
			st.Plan = append(st.Plan, text)
		}
		return nil
	})
	return st, err
}

// Knows asks a release which of the named migrations it has, and what its squashed ones among them
// stand for.
func (p Project) Knows(ctx context.Context, run Run, names []string) (
	known map[string]bool, standsFor map[string][]string, err error,
) {
	known, standsFor = make(map[string]bool), make(map[string][]string)
	err = p.ask(ctx, run, names, func(kind, text string) error {
		switch kind {
		case "known":
			known[text] = true
		case "stands_for":
			var name string
			var others []string
			if err := json.Unmarshal([]byte(text), &[]any{&name, &others}); err != nil {
				return err
			}
			standsFor[name] = others
		}
		return nil
	})
	return known, standsFor, err
}

// ask runs the program. An answer that is not finished is an error, which has the last lines of
// what the project wrote.
func (p Project) ask(ctx context.Context, run Run, names []string, told func(kind, text string) error) error {
	var failed, wrong error
	done := false
	var other []string
	args := append([]string{"-c", program, p.Manage, strings.Join(p.Databases, ",")}, names...)
	err := run(ctx, args, func(line string) {
		text, ours := strings.CutPrefix(line, mark)
		if !ours {
			if strings.TrimSpace(line) != "" {
				other = append(other[max(0, len(other)-lastLines+1):], line)
			}
			return
		}
		var kind, what string
		if err := json.Unmarshal([]byte(text), &[]any{&kind, &what}); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("its answer %q cannot be read: %w", text, err))
			return
		}
		switch kind {
		case "done":
			done = true
		case "error":
			failed = errors.New(what)
		default:
			wrong = errors.Join(wrong, told(kind, what))
		}
	})
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case failed != nil:
		err = failed
	case wrong != nil:
		err = wrong
	case err == nil && !done:
		err = errors.New("it ended without an answer")
	}
	if err != nil {
		return &Error{Err: err, Lines: other}
	}
	return nil
}

// Error is why a release gave no answer.
type Error struct {
	Err   error
	Lines []string // the last ones that the project wrote
}

// Error is the reason.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the reason as an error.
func (e *Error) Unwrap() error { return e.Err }
