// Superctl is a zero-downtime process supervisor and reload daemon for Python (WSGI and ASGI)
// applications on Linux.
package main

import (
	"os"

	"superctl/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
