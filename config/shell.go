package config

import "strings"

// ShellSyntax returns the first word of a command that only a shell understands, such as && or >,
// or "". A command is split into words as by a shell, but no shell runs it: the program would get
// such a word as an argument.
func ShellSyntax(words []string) string {
	for _, w := range words {
		switch {
		case w == "&&", w == "||", w == "|", w == "&", w == ";", w == "<",
			strings.HasPrefix(w, ">"), strings.HasPrefix(w, "2>"):
			return w
		case strings.HasSuffix(w, ";") && !strings.ContainsAny(w, " \t\n"): // not a whole script, as for sh -c
			return w
		}
	}
	return ""
}
