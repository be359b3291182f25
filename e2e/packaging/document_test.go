package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"superctl/e2e/systemd"
)

// step is a block of shell commands of a document, and the output that the document shows.
type step struct {
	commands string
	prints   string // "" when the document shows none
	shown    bool   // the document shows the output
}

// steps parses the commands of a Markdown document: every ```sh block, with the ```text block after
// it as its output.
func steps(t *testing.T, document string) []step {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top(t), document))
	must(t, err)
	var list []step
	for _, block := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(data), -1) {
		switch block[1] {
		case "sh":
			list = append(list, step{commands: block[2]})
		case "text":
			if len(list) == 0 || list[len(list)-1].shown {
				t.Fatalf("%s: there is no command before the output %q", document, block[2])
			}
			list[len(list)-1].prints, list[len(list)-1].shown = block[2], true
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s has no commands", document)
	}
	return list
}

// follow runs the document's commands on the server, block by block, as root in /root, and compares
// their output with the document's.
func follow(t *testing.T, server *systemd.Sandbox, document string) {
	t.Helper()
	for _, s := range steps(t, document) {
		r := server.Run("bash", "-c", "cd /root && set -euo pipefail\n"+s.commands)
		if r.Code != 0 {
			t.Fatalf("%s: exit code %d:\n%s\n%s", document, r.Code, s.commands, r.Text())
		}
		if s.shown && !matches(s.prints, r.Stdout) {
			t.Errorf("%s: these commands:\n%sprint:\n%sand the document says:\n%s", document, s.commands, r.Stdout,
				s.prints)
		}
	}
}

// matches reports whether the output is what a document shows. A line "..." matches any lines, a
// length of time any other, such as 48 ms, 9.1 s and 1 min 1 s, and a number any number.
func matches(shown, printed string) bool {
	length, number := regexp.MustCompile(`\b(\d+ h( \d+ min)?( \d+ s)?|\d+ min( \d+ s)?|\d+(\.\d+)? m?s)\b`), regexp.MustCompile(`\d+(\.\d+)?`)
	plain := func(text string) string {
		return number.ReplaceAllString(length.ReplaceAllString(strings.TrimSpace(text), "0 s"), "0")
	}
	pattern := regexp.QuoteMeta(plain(shown))
	pattern = strings.ReplaceAll(pattern, `\.\.\.`, `(?s:.*)`)
	pattern = regexp.MustCompile(`[ \t]+`).ReplaceAllString(pattern, `[ \t]+`)
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(plain(printed))
}

func TestADocumentsOutputIsCompared(t *testing.T) {
	for _, c := range []struct {
		shown, printed string
		want           bool
	}{
		{"version 1\n", "version 1\n", true},
		{"shop: r2 is live in 3.9 s\n", "shop:  r12 is live in 0.41 s\n", true},
		{"shop: r2 is live in 3.9 s, cutover 0.2 ms\n", "shop: r2 is live in 1 min 1 s, cutover 1.2 s\n", true},
		{"shop: r2 is live in 3.9 s\n", "shop: r2 is live in 3 steps\n", false},
		{"...\nversion 2\n", "any\nlines\nversion 2\n", true},
		{"ok\n", "not ok\n", false},
		{"ok\n", "ok\nand more\n", false},
		{"200 text/css\n", "404 text/html\n", false},
	} {
		if got := matches(c.shown, c.printed); got != c.want {
			t.Errorf("%q and %q: %v, want %v", c.shown, c.printed, got, c.want)
		}
	}
}
