//go:build linux

// Package releasecommand has the commands for bundles and for the releases on disk: build, install,
// releases, verify, prune, pin and keygen. None of them needs a daemon that runs.
package releasecommand

import "superctl/cli/console"

// command is a command that runs.
type command struct{ *console.Console }

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }
