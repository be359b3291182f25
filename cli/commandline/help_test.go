package commandline

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"superctl/cli/terminal"
)

func sample() *cli.Command {
	return &cli.Command{
		Name: "turn", Usage: "make a release live", UsageText: "superctl turn RELEASE [--share SHARE] [--run ID [--by NAME]] [--json]",
		Description: `Starts the workers of RELEASE next to the live ones, and sends all new connections to
them.

   1. they start
   2. they are proved, each by its own health check, before they get a connection

   superctl turn r42                 by name
   superctl turn latest --share 1%,10%,50% --run 20261129-1    in steps, as a part of a run
   superctl turn`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "share", Usage: "first send this `SHARE` of the new connections to RELEASE"},
			&cli.IntFlag{Name: "n", Value: 20, Usage: "at most `COUNT`"}, &cli.BoolFlag{Name: "json", Usage: "print JSON"},
			&cli.StringFlag{Name: "inside", Hidden: true}, &cli.DurationFlag{Name: "for", Hidden: true},
		},
	}
}

func TestTheHelpOfACommandFitsTheTerminal(t *testing.T) {
	b := terminal.NewText(60)
	Help(b, "superctl", sample())
	const want = `superctl turn: make a release live

USAGE
   superctl turn RELEASE [--share SHARE]
      [--run ID [--by NAME]] [--json]

Starts the workers of RELEASE next to the live ones, and
sends all new connections to them.

   1. they start
   2. they are proved, each by its own health check, before
      they get a connection

   superctl turn r42   by name
   superctl turn latest --share 1%,10%,50% --run 20261129-1
      in steps, as a part of a run
   superctl turn

OPTIONS
   --share SHARE  first send this SHARE of the new
                  connections to RELEASE
   -n COUNT       at most COUNT (default: 20)
   --json         print JSON
   --help         show this help
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestANarrowTerminalShowsTheNamesOfOptionsWhole(t *testing.T) {
	b := terminal.NewText(30)
	Help(b, "superctl", sample())
	const want = `
OPTIONS
   --share SHARE
      first send this SHARE of
      the new connections to
      RELEASE
   -n COUNT
      at most COUNT (default:
      20)
   --json
      print JSON
   --help
      show this help
`
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("got:\n%s\nwant at the end:\n%s", b.String(), want)
	}
}

func TestHelpIsWrittenWhereverItIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"superctl", "turn", "r42", "--help"}, "superctl turn: make a release live\n"},
		{[]string{"superctl", "-h", "turn"}, "superctl turn: make a release live\n"},
		{[]string{"superctl", "--help"}, "overview\n"},
	} {
		var b bytes.Buffer
		app := &cli.App{Name: "superctl", Writer: &b, HideHelp: true, Commands: []*cli.Command{sample()}}

		if _, err := Run(app, c.args, func(w io.Writer) { _, _ = io.WriteString(w, "overview\n") }); err != nil {
			t.Error(err)
		}
		if first, err := b.ReadString('\n'); first != c.want {
			t.Errorf("%q: %q, %v", c.args, first, err)
		}
	}
}

func TestAWrongOptionIsExplained(t *testing.T) {
	for text, want := range map[string]string{
		"flag provided but not defined: -sahre":         "turn: unknown option --sahre; did you mean --share?",
		"flag provided but not defined: -inside-":       "turn: unknown option --inside-; superctl turn --help lists the options",
		"flag needs an argument: -n":                    "turn: option -n needs a value; superctl turn --help shows which",
		`invalid value "five" for flag -n: parse error`: `turn: invalid value "five" for option -n: use a whole number, such as 5`,
		`invalid value "10" for flag -for: parse error`: `turn: invalid value "10" for option --for: use a duration, such as 30s or 5m`,
	} {
		app := &cli.App{Name: "superctl", Commands: []*cli.Command{sample()}}
		cc := cli.NewContext(app, nil, nil)
		cc.Command = app.Commands[0]
		err := BadOption(cc, errors.New(text), false)
		var usage *UsageError
		if !errors.As(err, &usage) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
