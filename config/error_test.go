package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestEveryConfigErrorSaysWhereItIsAndWhatToDo reads a table from a file: a config, then the
// complete error.
func TestEveryConfigErrorSaysWhereItIsAndWhatToDo(t *testing.T) {
	const table = "testdata/errors.txtar"
	rows, err := txtar.ParseFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows.Files)%2 != 0 {
		t.Fatalf("%s has %d parts: each config needs what is said of it", table, len(rows.Files))
	}
	for i := 0; i < len(rows.Files); i += 2 {
		given, says := rows.Files[i], &rows.Files[i+1]
		t.Run(given.Name, func(t *testing.T) {
			if says.Name != "says" {
				t.Fatalf("the part after the config is %q, not \"says\"", says.Name)
			}
			c, err := read(string(given.Data))
			if err == nil {
				t.Fatalf("it was accepted: %+v", c)
			}
			got := err.Error() + "\n"
			if *update {
				says.Data = []byte(got)
			} else if got != string(says.Data) {
				t.Errorf("it says\n%s\ninstead of\n%s", got, says.Data)
			}
		})
	}
	if *update {
		if err := os.WriteFile(table, txtar.Format(rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnErrorNeverHasTheValueOfAKey(t *testing.T) {
	const secret = "canary7f3a"
	for _, value := range []string{
		secret, "\"" + secret, "'" + secret, "\"" + secret + "\\q\"", "\"x\"" + secret, "[" + secret, "{" + secret,
		"\"\"\"" + secret, "3" + secret, "“" + secret + "”",
		"\"a\" = " + secret, "[\"" + secret + "\", 3]", "{ credential = " + secret + " }",
		"{ name = \"" + secret + "\" }", "\"" + secret + "\x00\"",
	} {
		for _, key := range []string{"[env]\nSECRET_KEY", "[env]\nSECRET-KEY", "app", "keep", "[notify.chat]\nurl"} {
			if _, err := read(key + " = " + value + "\n"); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s = %s: %v", key, value, err)
			}
		}
	}
}

func TestTwentyErrorsAreReportedAndTheOthersCounted(t *testing.T) {
	var text strings.Builder
	for i := range 25 {
		fmt.Fprintf(&text, "zzz%d = 1\n", i)
	}
	_, err := read(text.String())
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "shop.toml: and 5 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
