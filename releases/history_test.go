package releases

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACrashLosesAtMostTheRecordThatItCut(t *testing.T) {
	h := History{filepath.Join(t.TempDir(), "history.jsonl")}
	if list, err := h.Read(0); err != nil || len(list) != 0 {
		t.Errorf("without a file: %v, %v", list, err)
	}
	if _, newest, err := h.Find(1); !errors.Is(err, ErrNoRecord) || newest != 0 {
		t.Errorf("without a file: %d, %v", newest, err)
	}
	must(t, h.Append(map[string]int{"n": 1}))
	f, err := os.OpenFile(h.Path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"n": 2, "cut o`)
	must(t, err)
	must(t, f.Close())
	must(t, h.Append(map[string]int{"n": 3}))
	must(t, h.Append(map[string]int{"n": 4}))
	for most, want := range map[int]string{0: "3:4 2:3 1:1", 2: "3:4 2:3", 1: "3:4", 9: "3:4 2:3 1:1"} {
		list, err := h.Read(most)
		must(t, err)
		if got := numbers(t, list); got != want {
			t.Errorf("%d: %s, want %s", most, got, want)
		}
	}
	if r, _, err := h.Find(2); err != nil || string(r.Data) != `{"n":3}` {
		t.Errorf("%s, %v", r.Data, err)
	}
	if _, newest, err := h.Find(4); !errors.Is(err, ErrNoRecord) || newest != 3 {
		t.Errorf("%d, %v", newest, err)
	}
}

func numbers(t *testing.T, list []Record) string {
	t.Helper()
	var out []string
	for _, record := range list {
		var r struct{ N json.Number }
		must(t, json.Unmarshal(record.Data, &r))
		out = append(out, fmt.Sprintf("%d:%s", record.Number, r.N))
	}
	return strings.Join(out, " ")
}

func TestAnUnreadableLineIsSkipped(t *testing.T) {
	h := History{filepath.Join(t.TempDir(), "history.jsonl")}
	long := `{"x":"` + strings.Repeat("x", recordLimit) + `"}`
	must(t, os.WriteFile(h.Path, []byte(`{"n":1}`+"\n"+long+"\n7\nnull\n[]\n\n"+`{"n":2}`), 0o600))
	list, err := h.Read(0)
	must(t, err)
	if got := numbers(t, list); got != "2:2 1:1" {
		t.Errorf("%s", got)
	}
}

func TestARecordInJSONHasItsNumber(t *testing.T) {
	for data, want := range map[string]string{
		`{}`: `{"number":7}`, `{ }`: `{"number":7}`, `{"kind": "switch"}`: `{"number":7,"kind":"switch"}`,
	} {
		got, err := json.Marshal(Record{7, json.RawMessage(data)})
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", data, got, err)
		}
	}
}

// FuzzHistory checks that for any content of the file, an appended record is the newest, earlier
// records keep their numbers, and all are valid JSON.
func FuzzHistory(f *testing.F) {
	f.Add("{\"n\":1}\n{\"n\":")
	f.Add("{}\n\x00{\"n\":3}\n[]")
	f.Fuzz(func(t *testing.T, text string) {
		h := History{filepath.Join(t.TempDir(), "h")}
		write(t, h.Path, text)
		before, err := h.Read(0)
		must(t, err)
		must(t, h.Append(map[string]int{"n": 7}))
		list, err := h.Read(0)
		if err != nil || string(list[0].Data) != `{"n":7}` || len(list) != len(before)+1 {
			t.Fatalf("%v %v, before %v", list, err, before)
		}
		for i, r := range before {
			if now := list[i+1]; now.Number != r.Number || string(now.Data) != string(r.Data) {
				t.Errorf("%d %s became %d %s", r.Number, r.Data, now.Number, now.Data)
			}
		}
		if _, err := json.Marshal(list); err != nil {
			t.Error(err)
		}
	})
}
