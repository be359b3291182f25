package plain

import (
	"strings"
	"testing"
)

func TestALineHasNoEscapesAndControls(t *testing.T) {
	for text, want := range map[string]string{
		"plain ä → 字\t\"x\"":               "plain ä → 字\t\"x\"",
		"\x1b[31mred\x1b[0m":               "red",
		"\x1b[2J\x1b[1;1Hhome":             "home",
		"\x1b]0;title\x07after":            "after",
		"\x1b]52;c;ZXZpbA==\x1b\\after":    "after",
		"\x1b]8;;http://x\x1b\\link":       "link",
		"\u009b31mred\u009d0;t\u009cx":     "redx",
		"\x1bPq#0\x1b\\sixel":              "sixel",
		"\x1bc\x1b(0reset":                 "reset",
		"\x1b[31":                          "31",
		"end\x1b":                          "end",
		"a\rb\nc":                          "a b c",
		"\a\b\x00x\x7f":                    "x",
		"user\u202etxt.exe\u2066\u200f":    "usertxt.exe",
		"not \xff\xfe UTF-8 \x9b31m\ufffd": "not \ufffd UTF-8 \ufffd31m\ufffd",
	} {
		if got := Line(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Text("a\x1b[1m\r\nb\n"); got != "a\nb\n" {
		t.Errorf("%q", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b[\x1b[31m31mx")
	f.Add("\x1b]0;\u009b\x07\x1b\x1b[K\x1b")
	f.Fuzz(func(t *testing.T, text string) {
		got := Line(text)
		if !IsLine(strings.ReplaceAll(got, "\ufffd", "")) || Line(got) != got {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}

func TestANameThatCannotBeShownIsQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"größe 2": "größe 2", "r\n2": `"r\n2"`, "r\x1b[31m": `"r\x1b[31m"`, "r\xff": `"r\xff"`, "a\tb": `"a\tb"`, "": "",
	} {
		if got := Name(name); got != want {
			t.Errorf("%q is shown as %s", name, got)
		}
	}
}
