// Package plain makes text from an app, a bundle or a server safe to print: no escape sequence
// reaches a terminal, and no control character makes text look like other text. It depends only on
// the standard library.
package plain

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// sequence matches an escape sequence of ECMA-48 or xterm: CSI with its parameters, OSC and similar
// strings with their content, or ESC and a short sequence.
var sequence = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]` + // CSI
	`|(?:\x1b[\]PX^_]|[\x{90}\x{98}\x{9d}-\x{9f}])[^\x07\x1b\x{9c}]*(?:\x07|\x1b\\|\x{9c})?` + // OSC, DCS, SOS, PM, APC
	`|\x1b[ -/]*[0-~]?`)

// Line returns text as one line without escape sequences and control characters. Tabs stay; invalid
// UTF-8 becomes U+FFFD.
func Line(text string) string {
	if IsLine(text) {
		return text
	}
	text = sequence.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r':
			return ' '
		case isControl(r):
			return -1
		}
		return r
	}, text)
}

// Text is Line for text of several lines.
func Text(text string) string {
	if IsLine(text) {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Line(strings.TrimSuffix(line, "\r"))
	}
	return strings.Join(lines, "\n")
}

// Name returns a name from a disk as it can be shown within a line: unchanged, or in Go's quotes if it
// has a character that cannot be shown.
func Name(name string) string {
	if IsLine(name) && !strings.Contains(name, "\t") {
		return name
	}
	return strconv.Quote(name)
}

// IsLine reports whether Line would return text unchanged.
func IsLine(text string) bool {
	for _, r := range text {
		if isControl(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}

// isControl reports whether a character acts instead of being shown: a control character other than
// the tab, a line separator, or one that changes the direction of text (UAX #9) and can make one
// name look like another.
func isControl(r rune) bool {
	switch {
	case r == '\t':
		return false
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return true
	}
	return unicode.Is(unicode.Bidi_Control, r)
}

// Indented returns the output of a command below a sentence: each line of it on a line of its own,
// indented; "" if there is none.
func Indented(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	return "\n  " + strings.ReplaceAll(text, "\n", "\n  ")
}
