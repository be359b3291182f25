//go:build linux

// Package checkcommand has superctl check, which finds out as the service what would keep the app or a
// release from running.
package checkcommand

import "superctl/cli/console"

// command is a command that runs.
type command struct{ *console.Console }

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }
