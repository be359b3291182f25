package commandline

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// OptionalFlag is a flag whose value may be left out: --prepare or --prepare=5m.
type OptionalFlag struct{ *cli.GenericFlag }

// String returns the line of the help.
func (f OptionalFlag) String() string { return withOptional(f.GenericFlag.String()) }

// withOptional marks the value of a flag as one that may be left out: --prepare[=LIMIT].
func withOptional(text string) string { return strings.Replace(text, " LIMIT", "[=LIMIT]", 1) }

const jsonName = "json"

// JSONFlag is the flag --json.
func JSONFlag() cli.Flag {
	return &cli.BoolFlag{Name: jsonName, Usage: "print the outcome as JSON, and nothing else"}
}

// WideFlag is the flag --wide.
func WideFlag() cli.Flag {
	return &cli.BoolFlag{Name: "wide", Usage: "do not shorten columns to the width of the terminal"}
}

// ForceFlag is the flag --force of changes.
func ForceFlag() cli.Flag {
	return &cli.BoolFlag{
		Name: "force",
		Usage: "continue even if the database has migrations that the release does not know, " +
			"or if the migrations cannot be compared ([django]); overrides no other check",
	}
}
