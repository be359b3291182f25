package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves the options of a command before its arguments, because the library ends the options
// at the first argument and people write superctl switch r42 --json. It does not touch words after
// `--`. --app and --config are accepted anywhere.
func reorder(args []string, app *cli.App) []string {
	l := commandLine{app: app}
	for rest := args[1:]; len(rest) > 0; {
		rest = rest[l.take(rest):]
	}
	out := append([]string{args[0]}, l.global...)
	if l.cmd == nil {
		options, rest := helpWords(l.words, app)
		return slices.Concat(out, l.options, options, rest)
	}
	return slices.Concat(out, l.words[:1], l.options, l.words[1:])
}

// commandLine is a command line whose words are sorted by kind.
type commandLine struct {
	app                    *cli.App
	cmd                    *cli.Command // nil if no command is given yet
	global, options, words []string
}

// take sorts the first word of rest, with the value of an option, and returns the number of words
// that it took.
func (l *commandLine) take(rest []string) int {
	arg := rest[0]
	isOption := strings.HasPrefix(arg, "-") && arg != "-"
	switch {
	case arg == "--", l.is("exec") && !strings.HasPrefix(arg, "-"):
		l.words = append(l.words, rest...) // may be options of another program
		return len(rest)
	case !isOption:
		if l.cmd == nil && len(l.words) == 0 {
			l.cmd = l.app.Command(arg)
		}
		l.words = append(l.words, arg)
		return 1
	case len(rest) == 1 && strings.TrimLeft(arg, "-") == "config" && l.is("scale"):
		l.options = append(l.options, "--reset") // superctl scale --config means scale --reset
		return 1
	}
	return l.takeOption(rest)
}

// takeOption is take for an option.
func (l *commandLine) takeOption(rest []string) int {
	name, _, joined := strings.Cut(strings.TrimLeft(rest[0], "-"), "=")
	list, isGlobal, n := &l.options, name == "app" || name == "config", 1
	if isGlobal {
		list = &l.global
	}
	if !joined && len(rest) > 1 && (isGlobal || l.cmd != nil && takesValue(l.cmd, name)) {
		n = 2
	}
	*list = append(*list, rest[:n]...)
	return n
}

// is reports whether the command is the named one.
func (l *commandLine) is(name string) bool { return l.cmd != nil && l.cmd.Name == name }

func takesValue(cmd *cli.Command, name string) bool {
	for _, f := range cmd.Flags {
		_, isBool := f.(*cli.BoolFlag)
		_, isOptional := f.(optionalFlag)
		if !isBool && !isOptional && slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false
}

// arguments refuses a wrong number of arguments and shows the usage of the command.
func arguments(cc *cli.Context, least, most int) error {
	switch n := cc.NArg(); {
	case n < least:
		return missing(cc)
	case n > most:
		return &usageError{fmt.Errorf(
			"%s: unexpected argument %q: %s", cc.Command.Name, cc.Args().Get(most), cc.Command.UsageText,
		)}
	}
	return nil
}

func missing(cc *cli.Context) error {
	return &usageError{fmt.Errorf(
		"%s: missing argument %s: %s", cc.Command.Name, missingArgument(cc.Command, cc.NArg()), cc.Command.UsageText,
	)}
}

// helpWords turns the words version, help and help COMMAND into --version and --help.
func helpWords(words []string, app *cli.App) (options, rest []string) {
	switch {
	case len(words) == 0:
	case words[0] == "version" && len(words) == 1:
		return []string{"--version"}, nil
	case words[0] == "help" && len(words) == 1:
		return []string{"--help"}, nil
	case words[0] == "help" && app.Command(words[1]) != nil:
		return nil, []string{words[1], "--help"}
	case words[0] == "help":
		return nil, words[1:2] // reported as an unknown command
	}
	return nil, words
}

var optionalPart = regexp.MustCompile(`\[[^\]]*\]`)

// missingArgument returns the name of the first missing argument, taken from the usage text.
func missingArgument(cmd *cli.Command, given int) string {
	usage, _, _ := strings.Cut(cmd.UsageText, "|")
	words := strings.Fields(optionalPart.ReplaceAllString(usage, ""))
	words = slices.DeleteFunc(words, func(w string) bool { return strings.ToUpper(w) != w })
	if given < len(words) {
		return words[given]
	}
	return ""
}

// optionalFlag is a flag whose value may be left out: --prepare or --prepare=5m.
type optionalFlag struct{ *cli.GenericFlag }

// String returns the line of the help.
func (f optionalFlag) String() string { return withOptional(f.GenericFlag.String()) }

// withOptional marks the value of a flag as one that may be left out: --prepare[=LIMIT].
func withOptional(text string) string { return strings.Replace(text, " LIMIT", "[=LIMIT]", 1) }
