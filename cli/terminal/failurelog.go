package terminal

import (
	"cmp"
	"fmt"
	"io"
	"regexp"

	"superctl/api"
)

// minRepeated is the least number of repeated lines that are left out.
const minRepeated = 4

var numbers = regexp.MustCompile(`[0-9]+`)

// withoutRepeats replaces lines that repeat earlier ones, apart from numbers in them, by their
// count: each worker of a server writes the traceback of the same error.
func withoutRepeats(lines []string) []string {
	plain := make([]string, len(lines))
	for i, l := range lines {
		plain[i] = numbers.ReplaceAllString(l, "0")
	}
	var out []string
	left := 0 // out since the last line that was kept
	for i := 0; i <= len(lines); {
		n := 0
		if i < len(lines) {
			n = repeated(plain, i)
		}
		if n >= minRepeated {
			left += n
			i += n
			continue
		}
		if left > 0 {
			out = append(out, fmt.Sprintf("... %d lines as above", left))
			left = 0
		}
		if i < len(lines) {
			out = append(out, lines[i])
		}
		i++
	}
	return out
}

// repeated returns how many lines from i on repeat a run of lines before i.
func repeated(lines []string, i int) int {
	most := 0
	for j := range i {
		n := 0
		for j+n < i && i+n < len(lines) && lines[j+n] == lines[i+n] {
			n++
		}
		most = max(most, n)
	}
	return most
}

// FailureLog prints the last lines of the program that failed. The lines of a hook were already
// shown while it ran.
func FailureLog(w io.Writer, out *api.Outcome) {
	if out.Culprit != api.Hook {
		ProgramLog(w, string(cmp.Or(out.Culprit, api.Worker)), out.Log)
	}
}

// ProgramLog prints the last lines of a program.
func ProgramLog(w io.Writer, whose string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p := PaletteFor(w)
	fmt.Fprintf(w, "the last lines of the %s:\n", whose)
	for _, l := range withoutRepeats(withoutOwn(lines)) {
		fmt.Fprintf(w, "  %s %s\n", p.Dim("|"), l)
	}
}
