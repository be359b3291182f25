package main

import (
	"context"
	"errors"
	"fmt"

	"superctl/e2e/harness"
)

// session is one recording outside a test. It implements harness.T.
type session struct {
	ctx      context.Context //nolint:containedctx // the lifetime of the program
	problems error
	cleanups []func()
}

// stopped is the panic of Fatalf.
type stopped struct{}

// record plays the scenes on the address that the documents use.
func (s *session) record(run *harness.Run) (screens []screen, err error) {
	func() {
		defer s.clean()
		defer func() {
			if p := recover(); p != nil && p != (stopped{}) {
				panic(p)
			}
		}()
		screens = play(s, run, "127.0.0.1:8000")
	}()
	return screens, errors.Join(s.problems, s.ctx.Err())
}

func (s *session) clean() {
	for len(s.cleanups) > 0 {
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		last()
	}
}

// Helper is for tests.
func (s *session) Helper() {}

// Name returns the name of the session.
func (s *session) Name() string { return "screens" }

// Logf prints nothing.
func (s *session) Logf(string, ...any) {}

// Errorf records a problem.
func (s *session) Errorf(format string, args ...any) {
	s.problems = errors.Join(s.problems, fmt.Errorf(format, args...))
}

// Fatalf records a problem and ends the session.
func (s *session) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(stopped{})
}

// Cleanup registers a function that runs at the end, the newest first.
func (s *session) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Failed reports whether there was a problem.
func (s *session) Failed() bool { return s.problems != nil }

var _ harness.T = (*session)(nil)
