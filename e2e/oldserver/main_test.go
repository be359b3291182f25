// Package oldserver tests how a server that superctl has replaced is stopped: real servers,
// under load.
package oldserver

import (
	"os"
	"testing"

	"superctl/e2e/harness"
	"superctl/takeover/oldserver"
)

var run *harness.Run

func TestMain(m *testing.M) {
	harness.Guardian()
	if len(os.Args) > 1 && os.Args[1] == oldserver.Arg {
		os.Exit(oldserver.Main(os.Stdin, os.Stdout))
	}
	if server := os.Getenv(stopServer); server != "" {
		os.Exit(stopAsCommand(server))
	}
	os.Exit(harness.Main(m, func(r *harness.Run) { run = r }))
}
