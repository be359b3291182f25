//go:build !linux

package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"
)

// Main runs the command line args and returns the exit code. On this system superctl is only the
// client of fleets: the daemon needs Linux.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{stdout: &screen{stdout}, stderr: &screen{stderr}, now: time.Now}
	target, rest, found := fleetOf(args)
	if !found {
		fmt.Fprintf(c.stderr, "superctl: on %s superctl only runs commands on other hosts: superctl @ENV COMMAND\n\n%s\n",
			runtime.GOOS, aboutFleet)
		return exitUsage
	}
	app := c.fleetApp(target)
	app.Reader = stdin
	err := app.Run(reorder(rest, app))
	var exit *exitError
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintf(c.stderr, "superctl: %v\n", err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitAborted
}

// version returns the version of superctl.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
