package setup

import (
	"cmp"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff returns how a file changes, as a unified diff without the values of secrets; "" = it stays.
func (f *File) Diff() string {
	if !f.Changed() {
		return ""
	}
	from := f.Path
	if !f.Exists {
		from = "/dev/null"
	}
	text := string(diff.Diff(from, []byte(f.Old), f.Path, []byte(cmp.Or(f.Shown, f.Content))))
	_, text, _ = strings.Cut(text, "\n") // the line "diff OLD NEW"
	return text
}
