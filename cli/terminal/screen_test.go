package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

func TestOnlyTextAndSuperctlsColoursReachTheScreen(t *testing.T) {
	const app = "\x1b]0;owned\a\x1b[31mapp\x1b[0m\u202e \u009b2J\x00"
	for p, want := range map[Palette]string{
		false: "app   next\nab    next\n",
		true:  "\x1b[31mapp \x1b[0m  next\nab    next\n",
	} {
		var out bytes.Buffer
		var table Table
		table.Row(p.Red(app), "next")
		table.Row("ab", "next")
		table.Write(NewScreen(&out), "")
		if out.String() != want {
			t.Errorf("with colours %v: %q, want %q", p, out.String(), want)
		}
	}
}

func TestAnUnknownMarkIsPlainText(t *testing.T) {
	var out bytes.Buffer
	fmt.Fprintf(NewScreen(&out), "a%s5mb%s31%sKmc", mark, mark, mark)
	if got := out.String(); got != "a5mb31\r\x1b[Kc" {
		t.Errorf("got %q", got)
	}
}

func TestEscapedJSONDecodesToTheSameData(t *testing.T) {
	const text = "\x1b[2J\u009b31m\u202ex\u00e9\n\x7f"
	var out bytes.Buffer
	if err := json.NewEncoder(terminalJSON{&out}).Encode(text); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != text {
		t.Errorf("%q, %v", back, err)
	}
	if want := "\"\\u001b[2J\\u009b31m\\u202ex\u00e9\\n\\u007f\"\n"; out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
