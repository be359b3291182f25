package commandline

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
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

// step begins a numbered step.
var step = regexp.MustCompile(`^\d+\. `)

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
	fmt.Fprintln(h.text, Folded("   "+cmd.UsageText, h.columns, 6))
	if cmd.Description != "" {
		fmt.Fprintln(h.text)
		h.prose(cmd.Description)
	}
	h.title("OPTIONS")
	var list [][2]string
	for _, f := range cmd.Flags {
		if o, shown := OptionOf(f); shown {
			list = append(list, [2]string{o.String(), o.Usage})
		}
	}
	h.options(append(list, [2]string{"--help", "show this help"}))
	h.write(w)
}

// options writes options with what they do, on a narrow terminal below each: a table would shorten their
// names.
func (h help) options(list [][2]string) {
	const indent, gap = 3, 2
	width := 0
	for _, o := range list {
		width = max(width, terminal.Width(o[0]))
	}
	var t terminal.Table
	for _, o := range list {
		if indent+width+gap+minComment > h.columns {
			fmt.Fprintf(h.text, "   %s\n%s\n", o[0], terminal.Wrap("      "+o[1], h.columns, 6))
		} else {
			t.Row(o[0], o[1])
		}
	}
	t.Write(h.text, "   ")
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

func (h help) write(w io.Writer) { _, _ = w.Write(h.text.Bytes()) }

func (h help) title(text string) { fmt.Fprintf(h.text, "\n%s\n", text) }

// prose writes paragraphs, whose lines it joins, and examples and numbered steps, which are indented lines.
func (h help) prose(text string) {
	var paragraph, block []string
	flush := func() {
		if len(paragraph) > 0 {
			fmt.Fprintln(h.text, terminal.Wrap(strings.Join(paragraph, " "), h.columns, 0))
		}
		h.examples(block)
		paragraph, block = nil, nil
	}
	for line := range strings.Lines(text + "\n") {
		line = strings.TrimRight(line, "\n")
		example, isExample := strings.CutPrefix(line, "   ")
		switch {
		case line == "":
			flush()
			fmt.Fprintln(h.text)
		case isExample:
			block = append(block, example)
		default:
			paragraph = append(paragraph, line)
		}
	}
	flush()
}

// examples writes examples: commands, each with what it does. A command is never broken, so that it
// can be copied; what a long one does is in the next line. A numbered step is broken as prose is.
func (h help) examples(block []string) {
	const indent, gap = 3, 3
	width := 0
	for _, line := range block {
		command := examples.Split(line, 2)[0]
		if n := terminal.Width(command); n <= h.columns/2 {
			width = max(width, n)
		}
	}
	at := indent + width + gap
	for _, line := range block {
		parts := examples.Split(line, 2)
		n := terminal.Width(parts[0])
		switch {
		case step.MatchString(line):
			fmt.Fprintln(h.text, terminal.Wrap("   "+line, h.columns, 6))
		case len(parts) == 1:
			fmt.Fprintf(h.text, "   %s\n", parts[0])
		case n > width || h.columns-at < minComment && at+terminal.Width(parts[1]) > h.columns:
			fmt.Fprintf(h.text, "   %s\n%s\n", parts[0], terminal.Wrap("      "+parts[1], h.columns, 6))
		default:
			text := "   " + parts[0] + strings.Repeat(" ", width-n+gap) + parts[1]
			fmt.Fprintln(h.text, terminal.Wrap(text, h.columns, at))
		}
	}
}

// minComment is the least width of the text next to an example.
const minComment = 24

// glue is a space at which a line is not broken.
const glue = "\u00a0"

// Folded breaks the usage of a command before an option, so that it fits. An option with its value, in
// brackets, stays together.
func Folded(usage string, columns, indent int) string {
	var b strings.Builder
	depth := 0
	for _, r := range usage {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ' ' && depth > 0:
			b.WriteString(glue)
			continue
		}
		b.WriteRune(r)
	}
	return strings.ReplaceAll(terminal.Wrap(b.String(), columns, indent), glue, " ")
}

// Option is an option of a command, as its help describes it.
type Option struct {
	Names       []string // with their dashes
	Placeholder string   // of its value; "" = none
	Usage       string   // with the default
	optional    bool
}

// OptionOf returns the description of a flag, and whether the help shows it.
func OptionOf(f cli.Flag) (o Option, shown bool) {
	doc, isDocumented := f.(cli.DocGenerationFlag)
	if visible, canHide := f.(cli.VisibleFlag); !isDocumented || canHide && !visible.IsVisible() {
		return o, false
	}
	o.Usage = doc.GetUsage()
	if before, rest, quoted := strings.Cut(o.Usage, "`"); quoted {
		name, after, _ := strings.Cut(rest, "`")
		o.Placeholder, o.Usage = name, before+name+after
	}
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		o.Names = append(o.Names, dashes+name)
	}
	_, o.optional = f.(OptionalFlag)
	if value := doc.GetValue(); doc.TakesValue() && !slices.Contains([]string{"", "0", "0s", "-1", "[]"}, value) {
		if strings.HasSuffix(value, "m0s") {
			value = strings.TrimSuffix(value, "0s") // 10m, as one types it
		}
		o.Usage += " (default: " + value + ")"
	}
	return o, true
}

// String returns the names with the placeholder, such as --prepare[=LIMIT].
func (o Option) String() string {
	text := strings.Join(o.Names, ", ")
	switch {
	case o.optional:
		return withOptional(text + " " + o.Placeholder)
	case o.Placeholder != "":
		return text + " " + o.Placeholder
	}
	return text
}
