// Package plain makes text harmless that comes from an app, a bundle or a server: no escape sequence of it reaches a terminal, and
// none of its controls makes text look like other text. Standard library only.
package plain

import (
	"regexp"
	"strings"
	"unicode"
)

// sequence is an escape sequence of ECMA-48 or xterm: CSI, OSC and its kind with all that they carry, or ESC and one byte.
var sequence = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x{90}\x{98}\x{9d}-\x{9f}])[^\x07\x1b\x{9c}]*(?:\x07|\x1b\\|\x{9c})?|\x1b[ -/]*[0-~]?`)

// Line returns text as one line without escape sequences and controls. Tabs stay; what is not UTF-8 becomes U+FFFD.
func Line(text string) string {
	if Is(text) {
		return text
	}
	text = sequence.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r':
			return ' '
		case Control(r):
			return -1
		}
		return r
	}, text)
}

// Text is Line for text of several lines.
func Text(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Line(strings.TrimSuffix(line, "\r"))
	}
	return strings.Join(lines, "\n")
}

// Is reports whether text is one line that can be printed as it is.
func Is(text string) bool {
	for _, r := range text {
		if Control(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}

// Control reports whether a character does something instead of being seen: a control but for the tab, a line separator, or one
// that changes the direction of text (UAX #9), with which a name can be made to look like another.
func Control(r rune) bool {
	switch {
	case r == '\t':
		return false
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return true
	}
	return unicode.Is(unicode.Bidi_Control, r)
}
