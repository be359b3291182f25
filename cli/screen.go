package cli

import (
	"fmt"
	"io"
	"strings"

	"superctl/plain"
)

// screen is what people read: the output of a command. All that is written to it is text of
// whoever, from applications, releases and daemons, so it lets text through and nothing else
// (package plain), whether it is a terminal or not. superctl's own colours are marked by a byte
// that no text has.
type screen struct{ out io.Writer }

// mark begins a control of superctl's own: a byte that is never in UTF-8, which all text from JSON
// and TOML is. An m ends it.
const mark = "\xfe"

// The controls beside colours.
const (
	eraseLine   = mark + "Km"
	clearScreen = mark + "Jm"
)

// Write writes text and marked controls.
func (s *screen) Write(p []byte) (int, error) {
	var b strings.Builder
	first, rest, marked := strings.Cut(string(p), mark)
	b.WriteString(plain.Text(first))
	for marked {
		var part string
		part, rest, marked = strings.Cut(rest, mark)
		code, text, ends := strings.Cut(part, "m")
		sequence := controlOf(code)
		if !ends || sequence == "" {
			sequence, text = "", part // it was no mark of ours
		}
		b.WriteString(sequence + plain.Text(text))
	}
	if _, err := io.WriteString(s.out, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// controlOf is what a terminal takes for a mark; "" when it is none.
func controlOf(code string) string {
	switch code {
	case "K":
		return "\r\x1b[K"
	case "J":
		return "\x1b[H\x1b[2J"
	case "0", "1", "2", "31", "32", "33":
		return "\x1b[" + code + "m"
	}
	return ""
}

// raw is what a screen writes to: for data that is not for people, and for other programs.
func raw(w io.Writer) io.Writer {
	if s, ok := w.(*screen); ok {
		return s.out
	}
	return w
}

// harmless writes JSON so that a terminal can show it: what JSON does not have to escape, but a
// terminal might obey, is escaped too.
type harmless struct{ out io.Writer }

func (h harmless) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, r := range string(p) {
		if text := string(r); r < 0x10000 && r >= 0x7f && plain.Text(text) != text {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteString(text)
		}
	}
	if _, err := io.WriteString(h.out, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
