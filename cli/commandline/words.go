// Package commandline has what the commands of superctl share: the order of their words, the check
// of their arguments, common flags, and errors that set the exit code.
package commandline

import (
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Run runs a command line. It accepts options after the arguments, because people write superctl switch
// r42 --json and the library ends the options at the first argument. It does not touch words after
// `--`. --app and --config are accepted anywhere. overview writes the help of the app.
func Run(app *cli.App, args []string, overview func(io.Writer)) error {
	l := commandLine{app: app}
	for rest := args[1:]; len(rest) > 0; {
		rest = rest[l.take(rest):]
	}
	if slices.ContainsFunc(l.options, asksForHelp) {
		switch {
		case l.cmd != nil:
			Help(app.Writer, app.Name, l.cmd)
			return nil
		case len(l.words) == 0:
			overview(app.Writer)
			return nil
		}
	}
	return app.Run(l.reordered(args[0]))
}

func asksForHelp(word string) bool { return word == "-h" || strings.TrimLeft(word, "-") == "help" }

// reordered returns the words with the options of the command before its arguments.
func (l *commandLine) reordered(program string) []string {
	app := l.app
	out := append([]string{program}, l.global...)
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
	if !joined && len(rest) > 1 && (isGlobal || l.cmd != nil && TakesValue(l.cmd, name)) {
		n = 2
	}
	*list = append(*list, rest[:n]...)
	return n
}

// is reports whether the command is the named one.
func (l *commandLine) is(name string) bool { return l.cmd != nil && l.cmd.Name == name }

// TakesValue reports whether the option name of cmd is followed by its value.
func TakesValue(cmd *cli.Command, name string) bool {
	for _, f := range cmd.Flags {
		_, isBool := f.(*cli.BoolFlag)
		_, isOptional := f.(OptionalFlag)
		if !isBool && !isOptional && slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false
}

// Arguments refuses a wrong number of arguments and shows the usage of the command.
func Arguments(cc *cli.Context, least, most int) error {
	switch n := cc.NArg(); {
	case n < least:
		return Missing(cc)
	case n > most:
		return Usagef(
			"%s: unexpected argument %q: %s", cc.Command.Name, cc.Args().Get(most), cc.Command.UsageText,
		)
	}
	return nil
}

// Missing returns an error that names the first missing argument and shows the usage.
func Missing(cc *cli.Context) error {
	return Usagef(
		"%s: missing argument %s: %s", cc.Command.Name, missingArgument(cc.Command, cc.NArg()), cc.Command.UsageText,
	)
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
