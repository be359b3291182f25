//go:build linux

// Package drillcommand has superctl drill: its options, which come from the config of the app and from
// its releases, and its report.
package drillcommand

import "superctl/cli/console"

// command is a command that runs.
type command struct{ *console.Console }

// printer prints what a command has found out and done, for people.
type printer struct{ *command }

func (c *command) print() printer { return printer{c} }
