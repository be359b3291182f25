package terminal

import (
	"fmt"
	"io"
	"strings"
)

// proseIndent is the indent of the further lines of a sentence.
const proseIndent = 2

// Prose writes sentences to w, and a newline. On a terminal it breaks lines that are too long between
// words.
func Prose(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, Wrap(fmt.Sprintf(format, args...), Columns(w), proseIndent))
}

// Wrap breaks the lines of a text that have more than columns, between words. Their further lines begin
// at column indent. With columns = 0 it breaks nothing.
func Wrap(text string, columns, indent int) string {
	if columns <= 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = wrapLine(line, columns, indent)
	}
	return strings.Join(lines, "\n")
}

func wrapLine(line string, columns, indent int) string {
	if Width(line) <= columns {
		return line
	}
	var b strings.Builder
	rest := line
	column := 0
	for {
		text := strings.TrimLeft(rest, " ")
		gap := len(rest) - len(text)
		word, _, _ := strings.Cut(text, " ")
		if text == "" {
			return b.String()
		}
		if column > indent && column+gap+Width(word) > columns {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column, gap = indent, 0
		}
		b.WriteString(strings.Repeat(" ", gap) + word)
		column += gap + Width(word)
		rest = strings.TrimPrefix(text, word)
	}
}
