package terminal

import (
	"strings"
	"testing"
)

func TestALongLastCellWraps(t *testing.T) {
	var tab Table
	tab.Row("NUMBER", "WHAT", "WHO")
	tab.Row("12", "switch", "anna (as root) from 203.0.113.7")
	tab.Row("", "  "+strings.Repeat("reason ", 20))
	b := NewText(40)
	tab.Write(b, "")
	const want = `NUMBER  WHAT    WHO
12      switch  anna (as root) from
                203.0.113.7
          reason reason reason reason
          reason reason reason reason
          reason reason reason reason
          reason reason reason reason
          reason reason reason reason
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestACellIsShortenedInItsMiddle(t *testing.T) {
	for _, c := range []struct {
		cell  string
		width int
		want  string
	}{
		{"2026-11-28-12", 13, "2026-11-28-12"},
		{"2026-11-28-12", 9, "2026\u20268-12"},
		{Palette(true).Red("2026-11-28-12"), 6, Palette(true).Red("202\u202612")},
		{"größer als", 6, "grö\u2026ls"},
	} {
		if got := shortened(c.cell, c.width); got != c.want {
			t.Errorf("%q in %d columns is %q, want %q", c.cell, c.width, got, c.want)
		}
	}
}
