package cli

import (
	"fmt"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/urfave/cli/v2"
)

// manArg has superctl print its manual page. It is for whoever makes a package.
const manArg = "__man"

// manEnd is what the help of the commands does not say.
const manEnd = `
# EXIT STATUS

**0**
: done, or there was nothing to do

**1**
: refused or failed; what was live still is

**2**
: the command or the config is wrong

**3**
: the daemon cannot be reached

**4**
: another change is in progress

**5**
: it was live, failed its probation, and the release before is live again

# ENVIRONMENT

**SUPERCTL_APP**, **SUPERCTL_CONFIG**
: stand in for **--app** and **--config**

**SUPERCTL_CACHE**
: where superctl build keeps wheels

**NO_COLOR**
: no colours

# FILES

**/etc/superctl/APP.toml**
: the config of an app; /usr/share/doc/superctl/docs/config.md explains each key

**/var/lib/superctl/APP**
: state and history

**/run/superctl/APP.sock**
: the control socket

# SEE ALSO

**systemctl**(1), **systemd.service**(5); /usr/share/doc/superctl
`

// man is the manual page, made of the help texts.
func man(app *cli.App) []byte {
	var b strings.Builder
	fmt.Fprintf(
		&b, "superctl 8 \"\" %q\n==\n\n# NAME\n\nsuperctl - %s\n\n# SYNOPSIS\n\n    %s\n\n# DESCRIPTION\n\n%s\n",
		"superctl "+app.Version, app.Usage, app.UsageText, paragraphs(app.Description),
	)
	b.WriteString("\n# OPTIONS\n\n")
	optionsOf(&b, app.Flags)
	b.WriteString("\n# COMMANDS\n")
	for _, c := range app.Commands {
		fmt.Fprintf(&b, "\n## %s - %s\n\n    %s\n\n%s\n\n", c.Name, c.Usage, c.UsageText, paragraphs(c.Description))
		optionsOf(&b, c.Flags)
	}
	b.WriteString(manEnd)
	return md2man.Render([]byte(b.String()))
}

// paragraphs makes Markdown of a help text: what is indented in it is code, and what looks like
// markup is not.
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
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := "", doc.GetUsage()
		if before, rest, quoted := strings.Cut(usage, "`"); quoted {
			name, after, _ := strings.Cut(rest, "`")
			placeholder, usage = " "+name, before+name+after
		}
		var names []string
		for _, name := range f.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			names = append(names, "**"+dashes+name+"**"+placeholder)
		}
		fmt.Fprintf(b, "%s\n: %s\n\n", strings.Join(names, ", "), unmarked(usage))
	}
}

// unmarked has Markdown take a text as it is.
func unmarked(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "`", "\\`").Replace(text)
}
