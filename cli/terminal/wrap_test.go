package terminal

import (
	"bytes"
	"testing"
)

func TestSentencesBreakBetweenWords(t *testing.T) {
	for _, c := range []struct {
		name, text string
		columns    int
		want       string
	}{
		{"no terminal", "one two three four", 0, "one two three four"},
		{"it fits", "one two three", 13, "one two three"},
		{"it does not", "one two three four", 13, "one two three\n  four"},
		{"a long path", "see /srv/shop/releases/r1 there", 10, "see\n  /srv/shop/releases/r1\n  there"},
		{"an example below", "which?\n    app = \"shop\"", 16, "which?\n    app = \"shop\""},
		{"colours", Palette(true).Red("one two") + " three", 13, Palette(true).Red("one two") + " three"},
		{"aligned", "FAIL  one two three", 14, "FAIL  one two\n  three"},
	} {
		if got := Wrap(c.text, c.columns, proseIndent); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// changes is a table as of superctl history.
func changes() *Table {
	var t Table
	t.Head(false, "NUMBER", "CHANGE", "RELEASE", "WHO")
	t.Row("12", "switch", "2026-11-28-12", "anna")
	t.Row("", "  it did not answer")
	t.Row("11", "reload", "", "ben")
	return &t
}

func TestATableThatDoesNotFitIsAList(t *testing.T) {
	b := NewText(24)
	changes().Write(b, "")
	const want = `NUMBER   12
CHANGE   switch
RELEASE  2026-11-28-12
WHO      anna
  it did not answer

NUMBER   11
CHANGE   reload
WHO      ben
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestPlainRowsCarryTheirLabels(t *testing.T) {
	t.Setenv(plainVariable, "1")
	var b bytes.Buffer
	changes().Write(&b, "  ")
	const want = `  NUMBER 12, CHANGE switch, RELEASE 2026-11-28-12, WHO anna
    it did not answer
  NUMBER 11, CHANGE reload, WHO ben
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestColumnsWithoutContentAreDropped(t *testing.T) {
	table := changes()
	table.rows[3][3], table.rows[1][3] = "-", ""
	table.DropEmpty()
	var b bytes.Buffer
	table.Write(&b, "")
	const want = `NUMBER  CHANGE  RELEASE
12      switch  2026-11-28-12
          it did not answer
11      reload
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}
