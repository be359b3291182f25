package terminal

import (
	"fmt"
	"regexp"
	"strings"
)

// exceptionLine matches the last line of a Python traceback, such as
// django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable.
var exceptionLine = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*(: .*)?$`)

// serversOwn begins the exception with which gunicorn ends when its workers have failed. It says nothing
// about the application.
const serversOwn = "gunicorn.errors.HaltServer"

// tracebackBegins is the first line of a traceback.
const tracebackBegins = "Traceback (most recent call last):"

// withoutOwn replaces the tracebacks of the server itself by their count of lines. They follow the
// traceback of the application and would push it out of sight.
func withoutOwn(lines []string) (out []string) {
	from := -1
	for _, line := range lines {
		out = append(out, line)
		switch {
		case strings.HasPrefix(line, tracebackBegins):
			from = len(out) - 1
		case from >= 0 && strings.HasPrefix(line, serversOwn):
			out = append(out[:from], fmt.Sprintf("... %d lines of gunicorn's own traceback", len(out)-from))
			from = -1
		case from >= 0 && line != "" && !strings.HasPrefix(line, " ") && exceptionLine.MatchString(line):
			from = -1 // another traceback
		}
	}
	return out
}

// Exception returns the last line of the first Python traceback in the last lines of a program, or "".
// The first one is the cause: servers answer it with exceptions of their own.
func Exception(lines []string) string {
	inside := false
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, `  File "`):
			inside = true
		case !inside || strings.HasPrefix(line, " "):
		case strings.HasSuffix(line, tracebackBegins): // hypercorn's, with that of the application in its text
		case exceptionLine.MatchString(line) && !strings.HasPrefix(line, serversOwn):
			return line
		default:
			inside = false
		}
	}
	return ""
}
