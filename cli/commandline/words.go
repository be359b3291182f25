// Package commandline has what the commands of superctl share: the order of their words, the check
// of their arguments, common flags, and errors that set the exit code.
package commandline

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Run runs a command line. It accepts options after the arguments, because people write superctl switch
// r42 --json and the library ends the options at the first argument. It does not touch words after
// `--`. --app and --config are accepted anywhere. overview writes the help of the app. asJSON reports
// whether the line has the option --json, also if the line is wrong.
func Run(app *cli.App, args []string, overview func(io.Writer)) (asJSON bool, err error) {
	l := commandLine{app: app}
	for rest := args[1:]; len(rest) > 0; {
		rest = rest[l.take(rest):]
	}
	switch cmd, asked := l.help(); {
	case asked && cmd != nil:
		Help(app.Writer, app.Name, cmd)
		return false, nil
	case asked:
		overview(app.Writer)
		return false, nil
	}
	return l.json, app.Run(l.reordered(args[0]))
}

// help returns whether the command line asks for help, by --help or by the word help in an app without
// such a command, and the command that it asks about; nil = the app.
func (l *commandLine) help() (cmd *cli.Command, asked bool) {
	switch {
	case slices.ContainsFunc(l.options, asksForHelp):
		return l.cmd, l.cmd != nil || len(l.words) == 0
	case l.cmd != nil || len(l.words) == 0 || l.words[0] != "help":
		return nil, false
	case len(l.words) == 1:
		return nil, true
	}
	cmd = l.app.Command(l.words[1])
	return cmd, cmd != nil
}

func asksForHelp(word string) bool { return word == "-h" || strings.TrimLeft(word, "-") == "help" }

// reordered returns the words with the options of the command before its arguments.
func (l *commandLine) reordered(program string) []string {
	out := append([]string{program}, l.global...)
	switch {
	case l.cmd != nil:
		return slices.Concat(out, l.words[:1], l.options, l.words[1:])
	case len(l.words) == 0:
		return append(out, l.options...)
	case l.words[0] == "help" && len(l.words) > 1:
		return append(out, l.words[1]) // reported as an unknown command
	}
	return append(out, l.words[0]) // likewise, without its options
}

// commandLine is a command line whose words are sorted by kind.
type commandLine struct {
	app                    *cli.App
	cmd                    *cli.Command // nil if no command is given yet
	global, options, words []string
	json                   bool // --json is among the options
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
	name, value, joined := strings.Cut(strings.TrimLeft(rest[0], "-"), "=")
	if name == jsonName {
		l.json = !joined || value == "true"
	}
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

// UnexpectedError is an argument too many. Its command line may be meant for the app of that name.
type UnexpectedError struct {
	Command, Word string
	usage         string
}

// Error names the argument and the usage.
func (e *UnexpectedError) Error() string {
	return fmt.Sprintf("%s: unexpected argument %q: %s", e.Command, e.Word, e.usage)
}

// Arguments refuses a wrong number of arguments and shows the usage of the command.
func Arguments(cc *cli.Context, least, most int) error {
	switch n := cc.NArg(); {
	case n < least:
		return Missing(cc)
	case n > most:
		return &UsageError{&UnexpectedError{cc.Command.Name, cc.Args().Get(most), shortUsage(cc.Command)}}
	}
	return nil
}

// Missing returns an error that names the first missing argument and shows the usage.
func Missing(cc *cli.Context) error {
	what := "missing argument"
	if name := missingArgument(cc.Command, cc.NArg()); name != "" {
		what += " " + name
	}
	return Usagef("%s: %s: %s", cc.Command.Name, what, shortUsage(cc.Command))
}

// manyOptions is the number of options in a usage from which on an error leaves them out.
const manyOptions = 4

// shortUsage returns the usage of a command for an error, without its options if they are many.
func shortUsage(cmd *cli.Command) string {
	if strings.Count(cmd.UsageText, "[--") < manyOptions {
		return cmd.UsageText
	}
	before, _, _ := strings.Cut(cmd.UsageText, " [--")
	return before + " [OPTIONS] (--help lists them)"
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
