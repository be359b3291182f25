// Package django inspects the migrations of a release of a Django project.
//
// It runs a program with the release's own interpreter. The program changes neither the release nor
// its databases.
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

// mark begins a line of the program's answer. The project writes all other lines.
const mark = "@superctl "

// lastLines is how many lines of the project's output an Error has.
const lastLines = 20

// Project describes the Django project of a release.
type Project struct {
	Manage    string   `json:"manage"` // path of manage.py in the release
	Databases []string `json:"databases"`
	Migrates  bool     `json:"migrates"` // its `before` hooks run migrate
}

// Run runs the release's interpreter with these arguments and calls line with each line of its
// output.
type Run func(ctx context.Context, args []string, line func(string)) error

// State is the state of the databases from the view of a release. Migrations are named APP.NAME.
type State struct {
	Unknown []string // applied, but the release does not have them
	Missing []string // not applied
	Plan    []string // the output of `migrate --plan`, if some are missing
}

// Inspect returns the state of the databases.
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

// Knows returns which of the named migrations the release has and, for the squashed ones among
// them, which migrations they replace.
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

// ask runs the program and calls answer with each part of its answer. An incomplete answer is an
// Error.
func (p Project) ask(ctx context.Context, run Run, names []string, answer func(kind, text string) error) error {
	r := reader{answer: answer}
	args := append([]string{"-c", program, p.Manage, strings.Join(p.Databases, ",")}, names...)
	err := run(ctx, args, r.line)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case r.failed != nil:
		err = r.failed
	case r.wrong != nil:
		err = r.wrong
	case err == nil && !r.done:
		err = errors.New("manage.py ended without an answer")
	}
	if err != nil {
		return &Error{Err: err, Lines: r.other}
	}
	return nil
}

// reader reads the lines that the program and the project write.
type reader struct {
	answer func(kind, text string) error // gets each part of the answer

	done   bool     // the answer is complete
	failed error    // that the program reports
	wrong  error    // parts of the answer that cannot be read
	other  []string // the last lines that are not the program's
}

func (r *reader) line(line string) {
	text, ours := strings.CutPrefix(line, mark)
	if !ours {
		if strings.TrimSpace(line) != "" {
			r.other = append(r.other[max(0, len(r.other)-lastLines+1):], line)
		}
		return
	}
	var kind, what string
	if err := json.Unmarshal([]byte(text), &[]any{&kind, &what}); err != nil {
		r.wrong = errors.Join(r.wrong, fmt.Errorf("invalid answer %q: %w", text, err))
		return
	}
	switch kind {
	case "done":
		r.done = true
	case "error":
		r.failed = errors.New(what)
	default:
		r.wrong = errors.Join(r.wrong, r.answer(kind, what))
	}
}

// Error is the failure of an inspection.
type Error struct {
	Err   error
	Lines []string // the last lines that the project wrote
}

// Error returns the reason.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the reason as an error.
func (e *Error) Unwrap() error { return e.Err }
