package terminal

import (
	"regexp"
	"strings"
)

// exceptionLine matches the last line of a Python traceback, such as
// django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable.
var exceptionLine = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*(: .*)?$`)

// Exception returns the last line of the first Python traceback in the last lines of a program, or "".
// The first one is the cause: servers answer it with exceptions of their own.
func Exception(lines []string) string {
	inside := false
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, `  File "`):
			inside = true
		case !inside || strings.HasPrefix(line, " "):
		case exceptionLine.MatchString(line):
			return line
		default:
			inside = false
		}
	}
	return ""
}
