//go:build !linux

package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/fleetcommand"
	"superctl/cli/terminal"
	"superctl/version"
)

// Main runs the command line args and returns the exit code. On this system superctl is only the
// client of fleets: the daemon needs Linux.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	stdout, stderr = terminal.NewScreen(stdout), terminal.NewScreen(stderr)
	target, rest, found := fleetcommand.TargetOf(args)
	if !found {
		fmt.Fprintf(stderr, "superctl: on %s superctl only runs commands on other hosts: superctl @ENV COMMAND\n\n%s\n",
			runtime.GOOS, fleetcommand.About)
		return api.ExitUsage
	}
	app := fleetcommand.App(target, fleetcommand.Options{
		Stdin: stdin, Stdout: stdout, Stderr: stderr, Now: time.Now, Version: version.String(),
	})
	asJSON, err := commandline.Run(app, rest, func(w io.Writer) { fleetcommand.Overview(w, app) })
	var exit *commandline.ExitError
	var usage *commandline.UsageError
	switch {
	case err == nil:
		return api.ExitDone
	case errors.As(err, &exit):
		return exit.Code
	}
	code := api.ExitAborted
	if errors.As(err, &usage) {
		code = api.ExitUsage
	}
	commandline.Explain(stdout, stderr, err, code, asJSON)
	return code
}
