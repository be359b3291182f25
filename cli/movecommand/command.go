//go:build linux

// Package movecommand has the commands that move a site to superctl and back: init, takeover and
// eject, with the plans and reports that they print.
package movecommand

import "superctl/cli/console"

// command is a command that runs.
type command struct{ *console.Console }

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }
