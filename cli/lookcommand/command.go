//go:build linux

// Package lookcommand has the commands that look and change nothing: status, list, top, web, metrics,
// history and logs, and the tables that they print.
package lookcommand

import "superctl/cli/console"

// command is a command that runs.
type command struct{ *console.Console }

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }
