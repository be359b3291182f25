package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-isatty"

	"superctl/plain"
)

func isTerminal(w io.Writer) bool {
	f, ok := raw(w).(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// palette colours text if it is true: on a terminal, without NO_COLOR (https://no-color.org).
type palette bool

func paletteFor(w io.Writer) palette { return palette(isTerminal(w) && os.Getenv("NO_COLOR") == "") }

func (p palette) paint(code, text string) string {
	if !p || text == "" {
		return text
	}
	return mark + code + "m" + text + mark + "0m"
}

func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) dim(s string) string    { return p.paint("2", s) }
func (p palette) red(s string) string    { return p.paint("31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }

// seconds formats a duration, such as 48 ms, 2.5 s or 1m30s.
func seconds(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 60:
		return fmt.Sprintf("%.1f s", s)
	default:
		return time.Duration(s * float64(time.Second)).Round(time.Second).String()
	}
}

// age formats how long before now a time was, such as 5 min ago; "-" for the zero time.
func age(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	d := now.Sub(then)
	switch {
	case d < 2*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// sizeOf formats a number of bytes, such as 148 MB.
func sizeOf[T int64 | uint64](n T) string { return humanize.Bytes(uint64(max(n, 0))) }

// memory formats the memory of a worker; "-" if it is unknown.
func memory(n uint64) string {
	if n == 0 {
		return "-"
	}
	return sizeOf(n)
}

func short(commit string) string { return commit[:min(len(commit), 10)] }

// displayWidth returns the width of a text on a terminal in columns.
func displayWidth(s string) int {
	if isPrintableASCII(s) {
		return len(s)
	}
	n := 0
	for i, part := range strings.Split(s, mark) {
		if code, text, ends := strings.Cut(part, "m"); i > 0 && ends && controlOf(code) != "" {
			part = text
		}
		n += utf8.RuneCountInString(plain.Text(part))
	}
	return n
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
