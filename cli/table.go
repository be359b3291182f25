package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"superctl/plain"
)

// leastColumn is how narrow a column may become on a terminal, and leastRest how narrow the last
// one.
const (
	leastColumn = 6
	leastRest   = 24
)

func wideFlag() cli.Flag {
	return &cli.BoolFlag{Name: "wide", Usage: "whole columns, even if the terminal is narrower"}
}

// fitted is text for a terminal of so many columns; 0 = any number.
type fitted struct {
	bytes.Buffer
	columns int
}

// columnsOf returns how many columns there are to write to; 0 = any number, since it is no
// terminal.
func columnsOf(w io.Writer) int {
	switch w := raw(w).(type) {
	case *fitted:
		return w.columns
	case *os.File:
		if isTerminal(w) {
			if width, _, err := term.GetSize(int(w.Fd())); err == nil { // a descriptor is an int
				return width
			}
		}
	}
	return 0
}

// fit returns where a command that knows --wide collects its text.
func (c *command) fit(cc *cli.Context) *fitted {
	if cc.Bool("wide") {
		return &fitted{}
	}
	return &fitted{columns: columnsOf(c.stdout)}
}

// table is rows of cells, aligned. Colours have no width. The last cell of a row may be as long as
// it likes.
type table struct{ rows [][]string }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the rows. On a terminal they fit its width: the gaps become narrower, then the
// widest columns, and a last cell goes on below itself.
func (t *table) write(w io.Writer, indent string) {
	widths, gap, room := t.widths(), 2, columnsOf(w)
	if room > 0 {
		widths, gap = t.narrowed(widths, room-len(indent))
	}
	for _, r := range t.rows {
		var b strings.Builder
		b.WriteString(indent)
		at := len(indent)
		for i, c := range r[:len(r)-1] {
			c = shortened(c, widths[i])
			b.WriteString(c + strings.Repeat(" ", widths[i]-visible(c)+gap))
			at += widths[i] + gap
		}
		last := r[len(r)-1]
		if room > 0 && at+visible(last) > room {
			last = wrapped(last, at, room)
		}
		b.WriteString(last)
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// widths are those of the columns but for last cells.
func (t *table) widths() []int {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(r)-1 {
				widths[i] = max(widths[i], visible(c))
			}
		}
	}
	return widths
}

// narrowed returns widths and a gap with which the table has room, if it can have it.
func (t *table) narrowed(widths []int, room int) (narrow []int, gap int) {
	rest := 0 // of the rows with all columns: the others go on below themselves anyway
	for _, r := range t.rows {
		if len(r) == len(widths) {
			rest = max(rest, visible(r[len(r)-1]))
		}
	}
	rest = min(rest, leastRest)
	needed := func() int {
		sum := rest
		for _, n := range widths[:max(len(widths)-1, 0)] {
			sum += n + gap
		}
		return sum
	}
	gap = 2
	if needed() > room {
		gap = 1
	}
	for needed() > room {
		widest := 0
		for i, n := range widths[:max(len(widths)-1, 0)] {
			if n > widths[widest] {
				widest = i
			}
		}
		if len(widths) == 0 || widths[widest] <= leastColumn {
			break
		}
		widths[widest]--
	}
	return widths, gap
}

// shortened leaves out the middle of a cell, whose ends tell names apart.
func shortened(cell string, width int) string {
	if visible(cell) <= width {
		return cell
	}
	before, text, after := uncoloured(cell)
	runes := []rune(text)
	head := width / 2
	tail := width - head - 1
	return before + string(runes[:head]) + "\u2026" + string(runes[len(runes)-tail:]) + after
}

// uncoloured takes the colour of a whole cell off.
func uncoloured(cell string) (before, text, after string) {
	const end = mark + "0m"
	coloured, ends := strings.CutSuffix(cell, end)
	code, text, begins := strings.Cut(strings.TrimPrefix(coloured, mark), "m")
	if !ends || !begins || !strings.HasPrefix(cell, mark) || controlOf(code) == "" {
		return "", plain.Line(cell), ""
	}
	return mark + code + "m", plain.Line(text), end
}

// wrapped breaks a text into lines that begin at a column; far to the right, where there is no room
// for that, at the fourth.
func wrapped(text string, at, room int) string {
	var b strings.Builder
	indent := at
	if room-at < leastRest {
		indent = 4
		b.WriteString("\n" + strings.Repeat(" ", indent))
	}
	column := indent
	lead := text[:len(text)-len(strings.TrimLeft(text, " "))]
	b.WriteString(lead)
	column += len(lead)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+visible(word) > room:
			b.WriteString("\n" + strings.Repeat(" ", indent+len(lead)))
			column = indent + len(lead)
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += visible(word)
	}
	return b.String()
}
