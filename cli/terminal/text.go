package terminal

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-isatty"
	"golang.org/x/text/width"

	"superctl/api"
	"superctl/plain"
)

// plainVariable is the environment variable that asks for output that a screen reader reads well: no
// colours, no redrawn lines, and the rows of a table as sentences of their own.
const plainVariable = "SUPERCTL_PLAIN"

// Plain reports whether the user has asked for plain output.
func Plain() bool { v := os.Getenv(plainVariable); return v != "" && v != "0" }

// Is reports whether w is a terminal.
func Is(w io.Writer) bool {
	f, ok := Raw(w).(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// Redraws reports whether lines of w can be drawn again: it is a terminal that understands control
// sequences, and the user has not asked for plain output.
func Redraws(w io.Writer) bool { return Is(w) && os.Getenv("TERM") != "dumb" && !Plain() }

// Palette colours text if it is true: on a terminal, without NO_COLOR (https://no-color.org).
type Palette bool

// PaletteFor returns the palette for what is written to w.
func PaletteFor(w io.Writer) Palette { return Palette(Redraws(w) && os.Getenv("NO_COLOR") == "") }

func (p Palette) paint(code, text string) string {
	if !p || text == "" {
		return text
	}
	return mark + code + "m" + text + mark + "0m"
}

// Bold returns a text that is bold if colours are on; Dim, Red, Green and Yellow are like it.
func (p Palette) Bold(s string) string { return p.paint("1", s) }

// Dim is like Bold.
func (p Palette) Dim(s string) string { return p.paint("2", s) }

// Red is like Bold.
func (p Palette) Red(s string) string { return p.paint("31", s) }

// Green is like Bold.
func (p Palette) Green(s string) string { return p.paint("32", s) }

// Yellow is like Bold.
func (p Palette) Yellow(s string) string { return p.paint("33", s) }

// Health returns a text in the colour of a health: "ok", "degraded" or "down".
func (p Palette) Health(health, text string) string {
	switch health {
	case api.HealthOK:
		return p.Green(text)
	case api.HealthDegraded:
		return p.Yellow(text)
	case api.HealthDown:
		return p.Red(text)
	}
	return text
}

// Seconds formats a duration, such as 48 ms, 2.5 s or 1 min 30 s.
func Seconds(s float64) string {
	switch {
	case math.Round(s*1000) < 1000:
		return fmt.Sprintf("%.0f ms", s*1000)
	case math.Round(s*10) < 600:
		return fmt.Sprintf("%.1f s", s)
	default:
		return plain.Duration(time.Duration(s * float64(time.Second)))
	}
}

// clockSkew is how much the clocks of two hosts may differ.
const clockSkew = time.Minute

// IsAhead reports whether a time that has passed is later than now: the clock was set back since.
func IsAhead(now, then time.Time) bool { return then.Sub(now) > clockSkew }

// Age formats how long before now a time was, such as 5 min ago; "-" for the zero time.
func Age(now, then time.Time) string {
	switch {
	case then.IsZero():
		return "-"
	case IsAhead(now, then):
		return "in the future"
	case now.Sub(then) < 2*time.Second:
		return "just now"
	}
	return Elapsed(now.Sub(then)) + " ago"
}

// Elapsed formats how long something has lasted, such as 5 min.
func Elapsed(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(int(d.Seconds()), 1))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// Size formats a number of bytes, such as 148 MB.
func Size[T int64 | uint64](n T) string { return humanize.Bytes(uint64(max(n, 0))) }

// Memory formats the memory of a worker; "-" if it is unknown.
func Memory(n uint64) string {
	if n == 0 {
		return "-"
	}
	return Size(n)
}

// ShortCommit returns the first digits of the hash of a commit.
func ShortCommit(commit string) string { return commit[:min(len(commit), 10)] }

// WithCommit returns the name of a release with its commit, such as r1 (4be9f00d4b).
func WithCommit(release, commit string) string {
	if commit == "" {
		return release
	}
	return release + " (" + ShortCommit(commit) + ")"
}

// Width returns the width of a text on a terminal in columns.
func Width(s string) int {
	if isPrintableASCII(s) {
		return len(s)
	}
	n := 0
	for i, part := range strings.Split(s, mark) {
		if code, text, ends := strings.Cut(part, "m"); i > 0 && ends && controlOf(code) != "" {
			part = text
		}
		for _, r := range plain.Text(part) {
			n += columnsOf(r)
		}
	}
	return n
}

// columnsOf returns how many columns a terminal uses for a character: two for Chinese, Japanese and
// Korean ones and for emoji, none for an accent that it puts on the character before.
func columnsOf(r rune) int {
	switch kind := width.LookupRune(r).Kind(); {
	case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
		return 2
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	return 1
}

// beginning returns as much of the beginning of a text without colours as fits into so many columns.
func beginning(text string, columns int) string {
	for i, r := range text {
		if columns -= columnsOf(r); columns < 0 {
			return text[:i]
		}
	}
	return text
}

// ending returns as much of the end of a text without colours as fits into so many columns.
func ending(text string, columns int) string {
	for from := len(text); from > 0; {
		r, size := utf8.DecodeLastRuneInString(text[:from])
		if columns -= columnsOf(r); columns < 0 {
			return text[from:]
		}
		from -= size
	}
	return text
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Dash returns s, or "-" if it is empty.
func Dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Cut returns the beginning of a text without colours, in at most that many columns.
func Cut(text string, columns int) string {
	if Width(text) <= columns {
		return text
	}
	const more = "..."
	return beginning(text, max(columns-len(more), 0)) + more
}

// First joins the first entries of a list and adds the number of the others.
func First(list []string, most int) string {
	text := strings.Join(list[:min(most, len(list))], ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return text
}
