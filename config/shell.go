package config

import "strings"

// ShellSyntax is the first word of a command that only a shell would understand, such as && or >; "" when there is none. A
// command is split into words as a shell would, but no shell runs it: the program would get such a word as an argument.
func ShellSyntax(words []string) string {
	for _, w := range words {
		switch {
		case w == "&&", w == "||", w == "|", w == "&", w == ";", w == "<", strings.HasPrefix(w, ">"), strings.HasPrefix(w, "2>"):
			return w
		case strings.HasSuffix(w, ";") && !strings.ContainsAny(w, " \t\n"): // not a whole script, as sh -c has it
			return w
		}
	}
	return ""
}
