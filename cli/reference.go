//go:build linux

package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/fleetcommand"
)

// referenceArg is the hidden command that prints the reference of all commands as Markdown.
const referenceArg = "__reference"

//go:generate sh -c "CGO_ENABLED=0 go run -trimpath superctl __reference >../docs/reference/commands.md"

// referenceStart is the beginning of the reference.
const referenceStart = `# Reference of all commands

<!-- Generated from the program's own help by go generate ./cli. Do not edit. -->

After this page you know every command, every option and every exit code.
%sCOMMAND --help%s prints the same. [Commands by task](../commands.md) is shorter.
`

// reference returns the reference of all commands, made from their help texts.
func reference(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, referenceStart, "`superctl ", "`")
	b.WriteString("\n## Exit codes\n\n| exit | meaning |\n|---|---|\n")
	for _, e := range api.ExitCodes() {
		fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Meaning)
	}
	b.WriteString("\n## Options of all commands\n\nBefore or after the command: `superctl --app shop status`.\n\n")
	b.WriteString(optionTable(app.Flags))
	b.WriteString("\n## Commands\n")
	for _, c := range app.Commands {
		referenceOf(&b, "", c)
	}
	several := fleetApp()
	fmt.Fprintf(&b, "\n## Commands for several hosts\n\n%s\n%s", pageText(several.Description), optionTable(several.Flags))
	for _, c := range several.Commands {
		referenceOf(&b, fleetcommand.Target{}.String()+"ENV ", c)
	}
	return b.String()
}

// referenceOf writes the section of a command. prefix is the word before its name.
func referenceOf(b *strings.Builder, prefix string, c *cli.Command) {
	if c.Hidden {
		return
	}
	first, rest := c.Usage[:1], c.Usage[1:]
	fmt.Fprintf(b, "\n### %s%s\n\n%s%s.\n\n```text\n%s\n```\n\n", prefix, c.Name, strings.ToUpper(first), rest,
		commandline.Folded(c.UsageText, 80, 4))
	b.WriteString(pageText(c.Description))
	if table := optionTable(c.Flags); table != "" {
		b.WriteString("\n" + table)
	}
}

// pageText converts a help text to Markdown. Indented lines become blocks of code.
func pageText(text string) string {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if !strings.HasPrefix(paragraph, "   ") {
			fmt.Fprintf(&b, "%s\n\n", unmarked(paragraph))
			continue
		}
		fmt.Fprintf(&b, "```%s\n%s\n```\n\n", languageOf(paragraph), strings.TrimPrefix(
			strings.ReplaceAll(paragraph, "\n   ", "\n"), "   "))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// languageOf returns the language of a block of code, by its first word.
func languageOf(block string) string {
	switch block = strings.TrimSpace(block); {
	case strings.HasPrefix(block, "["):
		return "toml"
	case strings.HasPrefix(block, "superctl"):
		return "sh"
	default:
		return "text"
	}
}

// optionTable returns a table of the flags, or "" if there is none.
func optionTable(flags []cli.Flag) string {
	var b strings.Builder
	for _, f := range flags {
		o, shown := commandline.OptionOf(f)
		if !shown {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("| option | meaning |\n|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", o, strings.ReplaceAll(unmarked(o.Usage), "|", `\|`))
	}
	return b.String()
}
