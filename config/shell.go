package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
)

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

//nolint:gochecknoglobals // constants, which Go has no syntax for
var (
	assignment = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)=`)
	expansion  = regexp.MustCompile("\\$[A-Za-z_][A-Za-z0-9_]*|\\$\\{[A-Za-z_][A-Za-z0-9_]*|\\$\\(|`")
	builtins   = []string{".", "cd", "eval", "exec", "export", "set", "source", "trap", "ulimit", "umask", "unset"}
	shells     = []string{"ash", "bash", "dash", "ksh", "sh", "zsh"}
)

// NeedsShell reports whether a command, as a string of the config, would be refused because it expects
// a shell.
func NeedsShell(text string) bool {
	words, err := shellquote.Split(text)
	return err != nil || ShellSyntax(words) != "" || shellMistake(text) != ""
}

// shellMistake returns what a command, as it is written in the config, expects of a shell, and what
// to write instead; "" for nothing. It never returns a value that the command gives a variable.
func shellMistake(text string) string {
	const none = " is for a shell, and none runs it: "
	words := expandable(text)
	if len(words) == 0 {
		return ""
	}
	if m := assignment.FindStringSubmatch(words[0]); m != nil {
		return m[1] + "=" + none + "set " + m[1] + " in [env] or [process.NAME.env], or begin the command with env"
	}
	if slices.Contains(builtins, words[0]) {
		return words[0] + none + builtinInstead(words[0])
	}
	for i, w := range words {
		switch {
		case i > 0 && strings.HasPrefix(w, "-") && strings.HasSuffix(w, "c") && slices.Contains(shells, path.Base(words[i-1])):
			return "" // what follows is a script for that shell
		case strings.ContainsAny(w, " \t\n"):
		case w == "~", strings.HasPrefix(w, "~/"):
			return w + none + "write the absolute path"
		case expansion.MatchString(w):
			found := expansion.FindString(w)
			if found == "$(" && path.Base(words[0]) == "uwsgi" {
				continue // uWSGI puts the variable there itself
			}
			if strings.HasPrefix(found, "${") {
				found += "}"
			}
			return found + none + `write its value, or the command as ["sh", "-c", "exec ..."]`
		}
	}
	return ""
}

func builtinInstead(word string) string {
	switch word {
	case "exec":
		return "leave it out"
	case "cd":
		return "a command runs in the directory of the release; for another one write [\"sh\", \"-c\", \"cd ... && exec ...\"]"
	case ".", "source":
		return "the release's virtualenv is in PATH already; for another script write [\"sh\", \"-c\", \". ... && exec ...\"]"
	case "export":
		return "set variables in [env] or [process.NAME.env]"
	}
	return fmt.Sprintf(`write ["sh", "-c", "%s ...; exec ..."]`, word)
}

// expandable splits a command into words as go-shellquote does, and masks each character in which a
// shell would expand nothing: those in single quotes, and those after a backslash.
func expandable(text string) (words []string) {
	var word strings.Builder
	begun, quote, escaped := false, byte(0), false
	for _, c := range []byte(text) {
		switch {
		case escaped:
			escaped = false
			word.WriteByte('x')
		case c == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			word.WriteByte('x')
		case quote == 0 && (c == '\'' || c == '"'):
			quote, begun = c, true
		case quote == 0 && strings.IndexByte(" \t\n", c) >= 0:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			begun = true
			word.WriteByte(c)
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}
