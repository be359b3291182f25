package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	beforeValue = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*=\s*`)
	tableHeader = regexp.MustCompile(`^\s*\[\[?\s*([A-Za-z0-9_.-]+)\s*\]`)
	character   = regexp.MustCompile(` U\+[0-9A-F]{4,6}( '.*')?`)
)

// form returns what is wrong with a line, from the decoder's message. It contains no part of a
// value, which may be a secret.
func form(data []byte, line, column int, msg string) string {
	if strings.HasPrefix(msg, "invalid UTF-8") {
		return "a character is not UTF-8: save the file as UTF-8"
	}
	if r := at(data, line, column); r > unicode.MaxASCII && (unicode.IsSpace(r) || unicode.Is(unicode.Cf, r)) {
		return fmt.Sprintf("there is an invisible character, %U, as in text copied from a web page: replace it by a blank", r)
	}
	switch {
	case strings.Contains(msg, "start of value"), strings.Contains(msg, "must be quoted"),
		strings.HasPrefix(msg, "incomplete"):
		return badValue(data, line)
	case strings.HasPrefix(msg, "expected '=' after key"), strings.HasPrefix(msg, "invalid character at start of key"):
		return `a line is KEY = VALUE, [TABLE], or a comment that begins with #`
	case strings.HasPrefix(msg, "expected newline"):
		return "something follows the value on its line: a string is in one pair of quotes, a comment begins with #"
	case strings.Contains(msg, "strings cannot have new lines"):
		return "the string is not closed: a quote is missing at the end of the line"
	case strings.HasPrefix(msg, "invalid escape"):
		return `invalid escape in a string: write \\ for a backslash, or put the string in single quotes`
	}
	return character.ReplaceAllString(msg, "")
}

// at returns the character at a place, or utf8.RuneError.
func at(data []byte, line, column int) rune {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) || column < 1 || column > len(lines[line-1]) {
		return utf8.RuneError
	}
	r, _ := utf8.DecodeRune(lines[line-1][column-1:])
	return r
}

// badValue returns what a key takes if its value is not valid TOML: most often a string without
// quotes.
func badValue(data []byte, line int) string {
	lines := bytes.Split(data, []byte("\n"))
	text := string(lines[min(max(line-1, 0), len(lines)-1)])
	m := beforeValue.FindStringSubmatch(text)
	if m == nil {
		return "a value is not valid: a string is expected in quotes"
	}
	key, value := m[1], strings.TrimSpace(strings.TrimPrefix(text, m[0]))
	switch {
	case value == "" || value[0] == '#':
		return key + ": the value is missing"
	case strings.ContainsAny(value[:min(len(value), 3)], "\u201c\u201d\u2018\u2019"):
		return key + ": use straight quotes, not typographic ones"
	}
	path := strings.Split(key, ".")
	for i := line - 2; i >= 0; i-- {
		if h := tableHeader.FindSubmatch(lines[i]); h != nil {
			path = append(strings.Split(string(h[1]), "."), path...)
			break
		}
	}
	name := strings.Join(path, ".")
	t := field(reflect.TypeFor[file](), path)
	if t == nil || t.Kind() == reflect.Interface {
		return name + ": a string is expected, in quotes"
	}
	return name + ": " + expected(path, "")
}

// utf16 reports whether a text is in UTF-16, which some editors write but TOML does not allow.
func utf16(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xFF, 0xFE}) || bytes.HasPrefix(data, []byte{0xFE, 0xFF})
}
