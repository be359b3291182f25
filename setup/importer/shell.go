package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"superctl/config"
	"superctl/redact"
	"superctl/setup"
)

var (
	// variable matches a variable in a command: of a unit (systemd.service(5), COMMAND LINES), or of a shell, with
	// the value that stands for a missing one.
	variable = regexp.MustCompile(`\$\{(\w+)(?::?-([^}$]*))?\}|\$(\w+)`)
	// assignment matches a variable that a shell sets for one command.
	assignment = regexp.MustCompile(`^([A-Za-z_]\w*)=('[^']*'|"[^"$\x60\\]*"|[^\s'"$\x60\\;&|<>()]*)\s+(.+)$`)
	// optionOfVariable matches an option whose value is a variable.
	optionOfVariable = regexp.MustCompile(`\s(-{1,2}[\w-]+)[ =]?"?\$\{?\w+\}?"?(\s|$)`)
	// singleQuoted matches text in which a shell replaces nothing.
	singleQuoted = regexp.MustCompile(`'[^']*'`)
)

// expanded returns a command with its variables replaced, because superctl does not do so. A secret
// stays out of the command. said are notes of values that stand for a missing variable, unknown of
// variables that could not be replaced.
func (r *report) expanded(line string) (text string, said, unknown []string) {
	text = variable.ReplaceAllStringFunc(line, func(text string) string {
		m := variable.FindStringSubmatch(text)
		name, standard := m[1]+m[3], m[2]
		value, known := r.values[name]
		if i := slices.IndexFunc(r.out.Env, func(v setup.Variable) bool { return v.Name == name }); i >= 0 && !known {
			value, known = r.out.Env[i].Value, true
		}
		switch {
		case known && !redact.IsSecret(name, value):
			return value
		case !known && standard != "":
			said = append(said, fmt.Sprintf("$%s is %s", name, standard))
			return standard
		}
		unknown = append(unknown, text+" is not replaced: commands run without a shell")
		return text
	})
	return text, said, unknown
}

// shellLine is a command line that a shell runs.
type shellLine struct {
	command string // for superctl, which runs no shell: `sh -c ...` where nothing else will do
	env     []setup.Variable
	notes   []string
}

// unshell imports a line that a shell runs. web = it gets a listener, so it cannot be a command of a shell.
func (r *report) unshell(text string, web bool) (l shellLine) {
	text = strings.TrimSpace(strings.TrimPrefix(text, "exec "))
	for {
		m := assignment.FindStringSubmatch(text)
		if m == nil {
			break
		}
		l.env = append(l.env, setup.Variable{Name: m[1], Value: strings.Trim(m[2], `'"`)})
		l.notes = append(l.notes, m[1]+" is in env")
		text = m[3]
	}
	text = strings.TrimPrefix(text, "exec ")
	script := text
	var notes []string
	text = outsideQuotes(text, func(part string) string {
		part, said, _ := r.expanded(part)
		notes = append(notes, said...)
		return part
	})
	switch {
	case !config.NeedsShell(text):
		l.notes = append(l.notes, notes...)
	case web:
		text = l.withoutUnknown(text)
		l.notes = append(l.notes, notes...)
		if config.NeedsShell(text) {
			l.notes = append(l.notes, "superctl runs no shell: write what this line does without one")
		}
	default:
		if first, _, _ := strings.Cut(script, " "); !strings.Contains(first, "=") && !strings.ContainsAny(script, ";&|") {
			script = "exec " + script
		}
		text = joinWords([]string{"sh", "-c", script})
	}
	l.command = text
	return l
}

// withoutUnknown leaves out options whose value is a variable that is not known here: a server reads
// those that are meant for it, such as WEB_CONCURRENCY, by itself.
func (l *shellLine) withoutUnknown(text string) string {
	for {
		m := optionOfVariable.FindStringSubmatchIndex(text)
		if m == nil {
			return text
		}
		l.notes = append(l.notes, fmt.Sprintf("left out: %s: its value is not known here", strings.TrimSpace(text[m[0]:m[1]])))
		text = text[:m[0]] + text[m[4]:]
	}
}

// outsideQuotes replaces what a shell could replace: the text outside of single quotes.
func outsideQuotes(text string, replace func(part string) string) string {
	var b strings.Builder
	last := 0
	for _, at := range singleQuoted.FindAllStringIndex(text, -1) {
		b.WriteString(replace(text[last:at[0]]) + text[at[0]:at[1]])
		last = at[1]
	}
	return b.String() + replace(text[last:])
}
