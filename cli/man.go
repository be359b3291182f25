//go:build linux

package cli

import (
	"fmt"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/fleetcommand"
)

// manArg is the hidden command that prints the manual page. The packages use it.
const manArg = "__man"

// manEnd is the part of the manual page that does not come from the help of the commands.
const manEnd = `
# ENVIRONMENT

**SUPERCTL_APP**, **SUPERCTL_CONFIG**
: defaults of **--app** and **--config**

**SUPERCTL_SSH**
: the ssh command for several hosts, such as ssh -F ./ssh_config

**SUPERCTL_CACHE**
: the cache directory of superctl build

**NO_COLOR**
: turns colours off

**SUPERCTL_PLAIN**
: output for screen readers: no colours, no lines that are drawn again, and each row of a table as a line with its labels

**TERM**
: with the value dumb, no colours and no lines that are drawn again

# FILES

**/etc/superctl/APP.toml**
: the config of an app; /usr/share/doc/superctl/docs/config.md explains each key

**superctl.fleet.toml**
: the hosts of each environment, here or in a directory above

**/var/lib/superctl/APP**
: state and history

**/run/superctl/APP.sock**
: the control socket

# SEE ALSO

**systemctl**(1), **systemd.service**(5); /usr/share/doc/superctl
`

// man returns the manual page, generated from the help texts.
func man(app *cli.App) []byte {
	var b strings.Builder
	fmt.Fprintf(
		&b, "superctl 8 \"\" %q\n==\n\n# NAME\n\nsuperctl - %s\n\n# SYNOPSIS\n\n    %s\n\n# DESCRIPTION\n\n%s\n",
		"superctl "+app.Version, app.Usage, app.UsageText, paragraphs(app.Description),
	)
	b.WriteString("\n# OPTIONS\n\n")
	optionsOf(&b, app.Flags)
	b.WriteString("\n# COMMANDS\n")
	commandsOf(&b, app.Commands)
	several := fleetApp()
	fmt.Fprintf(&b, "\n# COMMANDS FOR SEVERAL HOSTS\n\n%s\n", paragraphs(several.Description))
	commandsOf(&b, several.Commands)
	b.WriteString("\n# EXIT STATUS\n")
	for _, e := range api.ExitCodes() {
		fmt.Fprintf(&b, "\n**%d**\n: %s\n", e.Code, e.Meaning)
	}
	b.WriteString(manEnd)
	return md2man.Render([]byte(b.String()))
}

// fleetApp returns the commands of a fleet whose name does not matter.
func fleetApp() *cli.App {
	target, _, _ := fleetcommand.TargetOf([]string{"superctl", "@ENV"})
	return fleetcommand.App(target, fleetcommand.Options{})
}

func commandsOf(b *strings.Builder, commands []*cli.Command) {
	for _, c := range commands {
		fmt.Fprintf(b, "\n## %s - %s\n\n    %s\n\n%s\n\n", c.Name, c.Usage, c.UsageText, paragraphs(c.Description))
		optionsOf(b, c.Flags)
	}
}

// paragraphs converts a help text to Markdown: indented lines become code, and characters with a
// meaning in Markdown are escaped.
func paragraphs(text string) string {
	var b strings.Builder
	code := false
	for line := range strings.Lines(text) {
		if is := strings.HasPrefix(line, "   "); is != code && strings.TrimSpace(line) != "" {
			code = is
			b.WriteByte('\n')
		}
		if code {
			line = "    " + strings.TrimPrefix(line, "   ")
		} else {
			line = unmarked(line)
		}
		b.WriteString(line)
	}
	return b.String()
}

func optionsOf(b *strings.Builder, flags []cli.Flag) {
	for _, f := range flags {
		o, shown := commandline.OptionOf(f)
		if !shown {
			continue
		}
		for n, name := range o.Names {
			o.Names[n] = "**" + name + "**"
		}
		fmt.Fprintf(b, "%s\n: %s\n\n", o, unmarked(o.Usage))
	}
}

// unmarked escapes the characters of a text that have a meaning in Markdown.
func unmarked(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "`", "\\`").Replace(text)
}
