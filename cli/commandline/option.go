package commandline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// The messages of package flag, which writes options with one dash.
var (
	unknownOption = regexp.MustCompile(`^flag provided but not defined: -+(.*)$`)
	withoutValue  = regexp.MustCompile(`^flag needs an argument: -+(.*)$`)
	invalidValue  = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-+([^:]+): (?:parse error|strconv.*|invalid boolean.*)$`)
)

// alike is the similarity from which on one word is taken for a mistyped other (Jaro-Winkler).
const alike = 0.8

// BadOption is the OnUsageError of all commands: it says what is wrong with an option, and which one
// may be meant.
func BadOption(cc *cli.Context, err error, _ bool) error {
	name, flags, full := "", cc.App.Flags, cc.App.Name
	if cc.Command != nil && cc.App.Command(cc.Command.Name) != nil {
		name, flags, full = cc.Command.Name+": ", append(cc.Command.Flags, flags...), cc.App.Name+" "+cc.Command.Name
	}
	text := err.Error()
	if m := unknownOption.FindStringSubmatch(text); m != nil {
		if near := nearest(m[1], flags); near != "" {
			return Usagef("%sunknown option %s; did you mean %s?", name, dashed(m[1]), near)
		}
		return Usagef("%sunknown option %s; %s --help lists the options", name, dashed(m[1]), full)
	}
	if m := withoutValue.FindStringSubmatch(text); m != nil {
		return Usagef("%soption %s needs a value; %s --help shows which", name, dashed(m[1]), full)
	}
	if m := invalidValue.FindStringSubmatch(text); m != nil {
		if takes := takenBy(m[2], flags); takes != "" {
			return Usagef("%sinvalid value %s for option %s: use %s", name, m[1], dashed(m[2]), takes)
		}
		return Usagef("%sinvalid value %s for option %s; %s --help shows which it takes", name, m[1], dashed(m[2]), full)
	}
	return Usagef("%s%w; %s --help lists the options", name, err, full)
}

// takenBy says what an option takes, from its type; "" if that does not say it.
func takenBy(name string, flags []cli.Flag) string {
	for _, f := range flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			return "a duration, such as 30s or 5m"
		case *cli.IntFlag:
			return "a whole number, such as 5"
		case *cli.Float64Flag:
			return "a number, such as 0.5"
		}
	}
	return ""
}

// dashed returns the name of an option as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// nearest returns the option that is most like a word, or "".
func nearest(word string, flags []cli.Flag) string {
	best, score := "", alike
	for _, f := range flags {
		o, shown := OptionOf(f)
		for _, name := range o.Names {
			if s := smetrics.JaroWinkler(word, strings.TrimLeft(name, "-"), 0.7, 4); shown && s > score {
				best, score = name, s
			}
		}
	}
	return best
}
