package terminal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"superctl/plain"
)

// minColumn is the least width of a column on a terminal, and minLastColumn that of the last
// column.
const (
	minColumn     = 8
	minLastColumn = 24
)

// Text is text for a terminal.
type Text struct {
	bytes.Buffer
	columns int
}

// NewText returns an empty text for a terminal of that width; 0 = unlimited.
func NewText(columns int) *Text { return &Text{columns: columns} }

// DefaultWidth is the width of a terminal that does not tell it.
const DefaultWidth = 80

// Columns returns the width of the terminal behind w, or 0 if there is none or its width does not
// matter.
func Columns(w io.Writer) int {
	switch w := Raw(w).(type) {
	case *Text:
		return w.columns
	case *os.File:
		if Is(w) && !Plain() {
			if width, _, err := term.GetSize(int(w.Fd())); err == nil { // a descriptor is an int
				return width
			}
		}
	}
	return 0
}

// Table is a list of rows whose cells are aligned in columns. Colours have no width. The last cell
// of a row can have any length and does not widen its column.
type Table struct {
	labels []string
	rows   [][]string
}

// Head adds the row with the labels of the columns, before all others.
func (t *Table) Head(p Palette, labels ...string) {
	t.labels = labels
	row := make([]string, len(labels))
	for i, label := range labels {
		row[i] = p.Dim(label)
	}
	t.Row(row...)
}

// Row adds a row.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// DropEmpty removes the columns in which all cells are empty or "-". A row with fewer cells than the head
// keeps its cells.
func (t *Table) DropEmpty() {
	filled := func(r []string, n int) bool { return t.whole(r) && r[n] != "" && r[n] != "-" }
	for n := len(t.labels) - 1; n >= 0; n-- {
		if len(t.rows) > 1 && !slices.ContainsFunc(t.rows[1:], func(r []string) bool { return filled(r, n) }) {
			t.drop(n)
		}
	}
}

// Fit removes columns, in the order of their labels, until the table fits the width of w.
func (t *Table) Fit(w io.Writer, labels ...string) {
	for _, label := range labels {
		room := Columns(w)
		if room == 0 {
			return
		}
		if _, _, fits := t.narrowed(t.widths(), room); fits {
			return
		}
		if n := slices.Index(t.labels, label); n >= 0 {
			t.drop(n)
		}
	}
}

// whole reports whether a row has all cells.
func (t *Table) whole(r []string) bool { return len(r) == len(t.labels) }

// drop removes a column from all rows that have all cells.
func (t *Table) drop(n int) {
	for i, r := range t.rows {
		if t.whole(r) {
			t.rows[i] = slices.Delete(r, n, n+1)
		}
	}
	t.labels = slices.Delete(slices.Clone(t.labels), n, n+1)
}

// Write writes the rows. To fit the width of a terminal it narrows first the gaps and then the
// widest columns, and wraps the last cells. A table with a head that still does not fit is written as
// a list, with a line for each cell, and so is every one in plain output, with a line for each row.
func (t *Table) Write(w io.Writer, indent string) {
	widths, gap, room := t.widths(), 2, Columns(w)
	fits := true
	if room > 0 {
		widths, gap, fits = t.narrowed(widths, room-len(indent))
	}
	if t.labels != nil && (Plain() || !fits) {
		t.writeList(w, indent, room)
		return
	}
	for _, r := range t.rows {
		var b strings.Builder
		b.WriteString(indent)
		at := len(indent)
		for i, c := range r[:len(r)-1] {
			c = shortened(c, widths[i])
			b.WriteString(c + strings.Repeat(" ", widths[i]-Width(c)+gap))
			at += widths[i] + gap
		}
		last := r[len(r)-1]
		if room > 0 && at+Width(last) > room {
			last = wrapped(last, at, room)
		}
		b.WriteString(last)
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// widths returns the widths of the columns, not counting last cells.
func (t *Table) widths() []int {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(r)-1 {
				widths[i] = max(widths[i], Width(c))
			}
		}
	}
	return widths
}

// narrowed returns widths and a gap with which the table fits into room columns, and whether it does.
func (t *Table) narrowed(widths []int, room int) (narrow []int, gap int, fits bool) {
	rest := 0 // width of the last column; last cells of shorter rows wrap anyway
	for _, r := range t.rows {
		if len(r) == len(widths) {
			rest = max(rest, Width(r[len(r)-1]))
		}
	}
	rest = min(rest, max(minLastColumn, room*2/5))
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
		if len(widths) == 0 || widths[widest] <= minColumn {
			break
		}
		widths[widest]--
	}
	return widths, gap, needed() <= room
}

// shortened cuts out the middle of a cell: the ends distinguish names.
func shortened(cell string, width int) string {
	if Width(cell) <= width {
		return cell
	}
	before, text, after := uncoloured(cell)
	head := width / 2
	tail := width - head - 1
	return before + beginning(text, head) + "\u2026" + ending(text, tail) + after
}

// uncoloured splits a cell into the start of its colour, its text and the end of its colour.
func uncoloured(cell string) (before, text, after string) {
	const end = mark + "0m"
	coloured, ends := strings.CutSuffix(cell, end)
	code, text, begins := strings.Cut(strings.TrimPrefix(coloured, mark), "m")
	if !ends || !begins || !strings.HasPrefix(cell, mark) || controlOf(code) == "" {
		return "", plain.Line(cell), ""
	}
	return mark + code + "m", plain.Line(text), end
}

// writeList writes the cells of each row with their labels: for a narrow terminal one below the other,
// else in one line. Rows without a label of their own, such as a warning of the row before, follow as
// they are.
func (t *Table) writeList(w io.Writer, indent string, room int) {
	width := 0
	for _, label := range t.labels {
		width = max(width, Width(label))
	}
	for i, r := range t.rows[1:] {
		if len(r) < len(t.labels) {
			text := strings.TrimSpace(strings.Join(r, " "))
			fmt.Fprintln(w, Wrap(indent+"  "+text, room, len(indent)+2))
			continue
		}
		var parts []string
		for n, cell := range r {
			switch {
			case strings.TrimSpace(cell) == "":
			case room > 0:
				label := t.labels[n] + strings.Repeat(" ", width-Width(t.labels[n])+2)
				parts = append(parts, Wrap(indent+label+cell, room, len(indent)+width+2))
			default:
				parts = append(parts, t.labels[n]+" "+cell)
			}
		}
		if room == 0 {
			fmt.Fprintln(w, indent+strings.Join(parts, ", "))
			continue
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, strings.Join(parts, "\n"))
	}
}

func longestWord(text string) (columns int) {
	for _, word := range strings.Fields(text) {
		columns = max(columns, Width(word))
	}
	return columns
}

// wrapped breaks a text into lines that begin at column at, or at column 4 if there is too little
// room to the right of at, or a word needs more.
func wrapped(text string, at, room int) string {
	var b strings.Builder
	indent := at
	if room-at < minLastColumn || longestWord(text) > room-at {
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
		case column+1+Width(word) > room:
			b.WriteString("\n" + strings.Repeat(" ", indent+len(lead)))
			column = indent + len(lead)
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += Width(word)
	}
	return b.String()
}
