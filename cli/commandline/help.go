package commandline

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/cli/terminal"
)

// The width of the help: that of the terminal, within limits that read well.
const (
	helpWidth = 80
	widest    = 100
)

// examples separates the command of an example from what it does.
var examples = regexp.MustCompile(` {4,}`)

// Group is some commands of the help under a title.
type Group struct {
	Title    string
	Commands []*cli.Command
}

// Commands returns the commands of all groups.
func Commands(groups []Group) (list []*cli.Command) {
	for _, g := range groups {
		list = append(list, g.Commands...)
	}
	return list
}

// Overview writes the help of an app: what it is for, its commands in groups, and sections of text, whose
// first lines are their titles.
func Overview(w io.Writer, app *cli.App, groups []Group, sections ...string) {
	h := helpFor(w)
	h.prose(app.Description)
	for _, g := range groups {
		h.title(g.Title)
		var t terminal.Table
		for _, c := range g.Commands {
			t.Row(fmt.Sprintf("%-10s", c.Name), c.Usage)
		}
		t.Write(h.text, "   ")
	}
	for _, s := range sections {
		title, text, _ := strings.Cut(s, "\n")
		h.title(title)
		h.prose(text)
	}
	h.write(w)
}

// Help writes the help of a command. program is what is typed before its name.
func Help(w io.Writer, program string, cmd *cli.Command) {
	h := helpFor(w)
	h.prose(fmt.Sprintf("%s %s: %s", program, cmd.Name, cmd.Usage))
	h.title("USAGE")
	fmt.Fprintln(h.text, terminal.Wrap("   "+glued(cmp.Or(cmd.UsageText, program+" "+cmd.Name)), h.columns, 6))
	if cmd.Description != "" {
		h.title("DESCRIPTION")
		h.prose(cmd.Description)
	}
	h.title("OPTIONS")
	var t terminal.Table
	for _, f := range cmd.Flags {
		if name, usage, ok := option(f); ok {
			t.Row(name, usage)
		}
	}
	t.Row("--help", "show this help")
	t.Write(h.text, "   ")
	h.write(w)
}

// help is a help text in the making.
type help struct {
	text    *terminal.Text
	columns int
}

func helpFor(w io.Writer) help {
	columns := min(cmp.Or(terminal.Columns(w), helpWidth), widest)
	return help{terminal.NewText(columns), columns}
}

func (h help) write(w io.Writer) { _, _ = w.Write([]byte(strings.ReplaceAll(h.text.String(), glue, " "))) }

func (h help) title(text string) { fmt.Fprintf(h.text, "\n%s\n", text) }

// prose writes paragraphs, whose lines it joins, and examples, which are indented lines.
func (h help) prose(text string) {
	var paragraph []string
	var block terminal.Table
	flush := func() {
		if len(paragraph) > 0 {
			fmt.Fprintln(h.text, terminal.Wrap(strings.Join(paragraph, " "), h.columns, 0))
		}
		block.Write(h.text, "   ")
		paragraph, block = nil, terminal.Table{}
	}
	for line := range strings.Lines(text + "\n") {
		line = strings.TrimRight(line, "\n")
		example, isExample := strings.CutPrefix(line, "   ")
		switch {
		case line == "":
			flush()
			fmt.Fprintln(h.text)
		case isExample:
			block.Row(examples.Split(example, 2)...)
		default:
			paragraph = append(paragraph, line)
		}
	}
	flush()
}

// glue is a space at which a line is not broken.
const glue = "\u00a0"

// glued makes the options of a usage stick to their values: a line is broken between two options.
func glued(usage string) string {
	var b strings.Builder
	depth := 0
	for _, r := range usage {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ' ' && depth == 1:
			b.WriteString(glue)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// option returns the names of a flag with the placeholder of its value, and its description.
func option(f cli.Flag) (names, usage string, ok bool) {
	doc, isDocumented := f.(cli.DocGenerationFlag)
	if visible, canHide := f.(cli.VisibleFlag); !isDocumented || canHide && !visible.IsVisible() {
		return "", "", false
	}
	usage, placeholder := doc.GetUsage(), ""
	if before, rest, quoted := strings.Cut(usage, "`"); quoted {
		name, after, _ := strings.Cut(rest, "`")
		placeholder, usage = " "+name, before+name+after
	}
	var list []string
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		list = append(list, dashes+name)
	}
	names = strings.Join(list, ", ") + placeholder
	if _, optional := f.(OptionalFlag); optional {
		names = WithOptional(names)
	}
	return names, usage, true
}
