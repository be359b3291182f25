// Package terminal prints for people: text without foreign control sequences, colours, tables in the
// width of the terminal, and durations, ages and sizes in words. It also prints the JSON of --json,
// which a terminal may show.
package terminal

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"superctl/plain"
)

// Screen is the output of a command. Text from applications, releases and daemons is untrusted, so
// Screen removes all control sequences (package plain), even if the output is not a terminal.
// superctl's own colours are encoded with a byte that no text contains.
type Screen struct {
	out io.Writer

	mu     sync.Mutex
	failed error

	wroteJSON *atomic.Bool // the object of --json; also of a Screen made by Through
}

// NewScreen returns a Screen that writes to out.
func NewScreen(out io.Writer) *Screen { return &Screen{out: out, wroteJSON: new(atomic.Bool)} }

// Through returns a Screen that writes to out, for the rest of what w shows.
func Through(w, out io.Writer) *Screen {
	through := NewScreen(out)
	if s, ok := w.(*Screen); ok {
		through.wroteJSON = s.wroteJSON
	}
	return through
}

// WroteJSON reports whether w, a Screen, or a Screen made from it by Through, has got JSON by WriteJSON.
func WroteJSON(w io.Writer) bool {
	s, ok := w.(*Screen)
	return ok && s.wroteJSON.Load()
}

// Failed returns why the first text that did not reach the output could not be written, or nil.
// Commands print without looking at each error, and ask for it once, at their end.
func (s *Screen) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fail keeps the first error.
func (s *Screen) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = cmp.Or(s.failed, err)
}

// WriteError returns why text could not be written to w, or nil. It knows this of a Screen only.
func WriteError(w io.Writer) error {
	if s, ok := w.(*Screen); ok {
		return s.Failed()
	}
	return nil
}

// mark begins a control sequence of superctl's own, and the letter m ends it. The byte never occurs
// in UTF-8, and text from JSON and TOML is always UTF-8.
const mark = "\xfe"

// The control sequences that are not colours.
const (
	EraseLine   = mark + "Km"
	ClearScreen = mark + "Jm"
)

// UpLines moves the cursor up n lines and erases what is below it.
func UpLines(n int) string { return fmt.Sprintf("%s%dAm", mark, n) }

// Write writes text without control sequences, and translates marked ones.
func (s *Screen) Write(p []byte) (int, error) {
	var b strings.Builder
	first, rest, marked := strings.Cut(string(p), mark)
	b.WriteString(plain.Text(first))
	for marked {
		var part string
		part, rest, marked = strings.Cut(rest, mark)
		code, text, ends := strings.Cut(part, "m")
		sequence := controlOf(code)
		if !ends || sequence == "" {
			sequence, text = "", part // not one of our marks
		}
		b.WriteString(sequence + plain.Text(text))
	}
	if _, err := io.WriteString(s.out, b.String()); err != nil {
		s.fail(err)
		return 0, err
	}
	return len(p), nil
}

// controlOf returns the terminal control sequence for a code, or "" if the code is unknown.
func controlOf(code string) string {
	switch code {
	case "K":
		return "\r\x1b[K"
	case "J":
		return "\x1b[H\x1b[2J"
	case "+":
		return "\x1b[?1049h\x1b[?25l\x1b[?7l"
	case "-":
		return "\x1b[?7h\x1b[?25h\x1b[?1049l"
	case "H":
		return "\x1b[H"
	case ">":
		return "\x1b[K"
	case "n":
		return "\x1b[K\r\n"
	case "v":
		return "\x1b[J"
	case "0", "1", "2", "31", "32", "33":
		return "\x1b[" + code + "m"
	}
	if n, up := strings.CutSuffix(code, "A"); up {
		if lines, err := strconv.Atoi(n); err == nil && lines > 0 {
			return fmt.Sprintf("\x1b[%dA\r\x1b[J", lines)
		}
	}
	return ""
}

// Raw returns the writer behind a Screen, for output to other programs.
func Raw(w io.Writer) io.Writer {
	if s, ok := w.(*Screen); ok {
		return s.out
	}
	return w
}

// terminalJSON writes JSON that is safe on a terminal: it also escapes the control characters that
// JSON allows unescaped.
type terminalJSON struct{ out io.Writer }

// WriteJSON writes a value as indented JSON, which is safe on a terminal.
func WriteJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(terminalJSON{Raw(out)})
	enc.SetIndent("", "  ")
	if s, ok := out.(*Screen); ok {
		s.wroteJSON.Store(true)
	}
	return noted(out, enc.Encode(v))
}

// WriteJSONLine writes JSON of one line, as other programs read it.
func WriteJSONLine(out io.Writer, line []byte) error {
	_, err := terminalJSON{Raw(out)}.Write(append(line, '\n'))
	return noted(out, err)
}

// noted keeps the error of a write past a Screen.
func noted(out io.Writer, err error) error {
	if s, ok := out.(*Screen); ok {
		s.fail(err)
	}
	return err
}

// Write escapes control characters.
func (h terminalJSON) Write(p []byte) (int, error) {
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

// The control sequences of a program that has the screen for itself.
const (
	EnterScreen = mark + "+m" // the screen before comes back with LeaveScreen; the cursor is hidden
	LeaveScreen = mark + "-m"
	home        = mark + "Hm"
	eraseRight  = mark + ">m"
	nextLine    = mark + "nm" // erases what is right of the cursor
	eraseBelow  = mark + "vm"
)

// Drawn returns the text that shows lines on a screen of so many rows, in place of what it showed.
// Nothing is erased before it is written, so that the screen does not flicker. Of too many lines, the
// last row says how many do not fit.
func Drawn(lines []string, rows int) string {
	if hidden := len(lines) - rows + 1; rows > 0 && len(lines) > rows {
		lines = append(lines[:rows-1:rows-1], fmt.Sprintf("... and %d more lines", hidden))
	}
	return home + strings.Join(lines, nextLine) + eraseRight + eraseBelow
}
