// Package starter is the program that runs between the fork of a worker and the worker's command. It
// sets what can only be set from inside the process, then executes the command in its own place, so
// that the PID stays.
//
// It is the same binary as the daemon, executed again, and would cost ten milliseconds of processor
// time for each worker if all of superctl's packages were initialised first. So it runs as an init
// function, before nearly all of them. Go initialises packages in the order of their import paths as
// far as their dependencies allow (Go specification, Program initialization). This package imports
// nothing but errors, maps, slices, strconv, syscall and unsafe, so it comes before every package that needs os,
// time or unicode. A further import would end that; a test holds it.
package starter

import (
	"strconv"
	"syscall"
)

// Variable is the environment variable that makes superctl a starter. Its value is the number of
// descriptors that the worker inherits.
const Variable = "SUPERCTL_STARTER"

// FirstFD is the number of the first descriptor that a worker inherits, SD_LISTEN_FDS_START of
// sd_listen_fds(3). After the last one comes the descriptor that takes the reason when the starter
// fails, and after that the one with the order.
const FirstFD = 3

// The exit codes of a starter that fails.
const (
	misused = 2   // it has no order
	failed  = 127 // as a shell, when a command is not found
)

//nolint:gochecknoinits // it must run before other packages are initialised: see the package comment
func init() {
	if files, found := syscall.Getenv(Variable); found {
		syscall.Exit(start(files))
	}
}

// start becomes the worker, and returns only when that fails. Until all packages are initialised Go
// keeps this code on the first thread of the process, whose user and signal mask an exec keeps.
func start(files string) int {
	n, err := strconv.Atoi(files)
	status := FirstFD + n
	var o *Order
	if err == nil && n >= 0 {
		o, err = read(status + 1)
	}
	if o == nil || err != nil {
		_, _ = syscall.Write(syscall.Stderr, []byte("superctl: "+Variable+" is for superctl's own use\n"))
		return misused
	}
	syscall.CloseOnExec(status)
	err = o.become(status)
	_, _ = syscall.Write(status, []byte(err.Error()))
	return failed
}

// stepError is the error of one step.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }

func (e *stepError) Unwrap() error { return e.err }

// failure returns the error of a step, or nil if errno is 0.
func failure(step string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &stepError{step, errno}
}
