//go:build linux

package cli

import "superctl/daemon"

// version returns the version of superctl.
func version() string { return daemon.Version() }
