package releases

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAHistoryIsReadOnFromWhereItWasRead(t *testing.T) {
	h := History{filepath.Join(t.TempDir(), "history.jsonl")}
	var at Position
	read := func(want ...string) {
		t.Helper()
		var got []string
		next, err := h.After(at, func(r Record) { got = append(got, string(r.Data)) })
		if err != nil {
			t.Fatal(err)
		}
		at = next
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(h.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	read() // there is no file yet
	write("{\"a\":1}\ndamaged\n{\"a\":2}\n")
	read(`{"a":1}`, `{"a":2}`)
	read()
	write(`{"a":`)
	read() // its line is not complete
	write("3}\n")
	read(`{"a":3}`)
	records, err := h.Read(1)
	if err != nil || len(records) != 1 || records[0].Number != at.number {
		t.Errorf("the newest is %+v, %v; it was read as number %d", records, err, at.number)
	}
}
