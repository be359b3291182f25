package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Transport reaches the hosts. Its methods run a command of superctl on a host to its end; they are
// called from many goroutines at once.
type Transport interface {
	// Run runs superctl with args. The command sees the end of stdin when stdin ends or ctx is
	// canceled, and gets the time to abort what it does.
	Run(ctx context.Context, host string, c Call) error
	// Ship copies a bundle to the host and runs superctl with args and the path of the copy, which it
	// removes.
	Ship(ctx context.Context, host string, b *Bundle, c Call) error
}

// Call is one command of superctl on a host.
type Call struct {
	Args   []string
	Stdin  io.Reader // nil = none
	Stdout io.Writer // nil = discarded
	Stderr io.Writer // nil = kept for the error
	Deaf   bool      // it does not notice the end of stdin: the end of ctx kills ssh at once
}

// ExitError is the error of a command that ran on its host and failed.
type ExitError struct {
	Code   int    // as superctl's exit codes (DESIGN 9)
	Stderr string // the last line that it wrote
}

// Error returns why the command failed.
func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Stderr
}

// LostError is the error of a host that cannot be reached, or no longer: whether the command ran to
// its end is unknown.
type LostError struct{ Err error }

// Error returns why the host was lost.
func (e *LostError) Error() string { return e.Err.Error() }

// Unwrap returns the reason as an error.
func (e *LostError) Unwrap() error { return e.Err }

func isLost(err error) bool {
	var lost *LostError
	return errors.As(err, &lost) || errors.Is(err, context.DeadlineExceeded)
}

// exitOf returns the exit code of a command, and -1 if it has none.
func exitOf(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return -1
}
