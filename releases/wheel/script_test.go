package wheel

import (
	"fmt"
	"strings"
	"testing"
)

func TestEntryPointsAreReadAsPipReadsThem(t *testing.T) {
	for line, want := range map[string]string{
		"a = m:f":                 "a m f",
		"  a=m.n:f.g ":            "a m.n f.g",
		"a = m:f [x,y]":           "a m f",
		"a = m:f # a comment":     "a m f",
		"a = m:f [x] ; a comment": "a m f",
		"a : m:f":                 "a m f",
		"a = m : f":               "a m f",
		"-x = m:f":                "-x m f",
		"a+b-c.d = m:f":           "a+b-c.d m f",
		"ä = m:f":                 "ä m f",
		"a = m:f\na = m:g":        "a m g",
		"# a = m:f\n; b = m:f":    "",
		"a = m":                   "refused",
		"a = m:f#x":               "refused",
		"a = m:f;g":               "refused",
		"a = m:f()":               "refused",
		"../a = m:f":              "refused",
		"a/b = m:f":               "refused",
		"a = os;x:f":              "refused",
	} {
		list, err := entryPoints("[console_scripts]\n" + line + "\n[other]\nx = y\n")
		var got []string
		for _, s := range list {
			got = append(got, fmt.Sprintf("%s %s %s", s.name, s.module, s.attr))
		}
		if text := strings.Join(got, ", "); err == nil && text != want || (err != nil) != (want == "refused") {
			t.Errorf("%q: %q, %v; want %q", line, text, err, want)
		}
	}
}
