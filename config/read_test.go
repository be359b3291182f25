package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAnUnreadableConfigIsRefused(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write(t, "large", strings.Repeat("#", fileLimit+1))
	for _, tt := range []struct{ name, path, want string }{
		{"missing", dir + "/shop.toml", "there is no such config file"},
		{"a directory", dir, "it is a directory"},
		{"a pipe that would wait for ever", fifo, "it is not a regular file"},
		{"a link to itself", loop, "too many levels of symbolic links"},
		{"too large", large, "it has more than 1048576 bytes, the limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(tt.path)
			if want := tt.path + ": " + tt.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestWhatAnEditorOrAWebPageHasPutIntoTheConfigIsNamed(t *testing.T) {
	const blank = "there is an invisible character, %s, as in text copied from a web page: replace it by a blank"
	for text, want := range map[string]string{
		"env = {A = \"caf\xe9\"}":  "1:16: a character is not UTF-8: save the file as UTF-8",
		"# caf\xe9\n":              "1:6: a character is not UTF-8: save the file as UTF-8",
		"app\u00a0= \"shop\"":      "1:4: " + fmt.Sprintf(blank, "U+00A0"),
		"\u00a0app = \"shop\"":     "1:1: " + fmt.Sprintf(blank, "U+00A0"),
		"app =\u00a0\"shop\"":      "1:6: " + fmt.Sprintf(blank, "U+00A0"),
		"app = \"shop\"\u200b":     "1:13: " + fmt.Sprintf(blank, "U+200B"),
		"app = \"a\u00a0b\" \"c\"": "1:14: something follows the value on its line: a string is in one pair of quotes, a comment begins with #",
	} {
		if _, err := read(text); err == nil || err.Error() != "shop.toml:"+want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	if _, err := read("\ufeff" + minimal); err != nil {
		t.Error(err)
	}
	if _, err := read("\xff\xfea\x00"); err == nil || err.Error() != "shop.toml: it is UTF-16: save it as UTF-8" {
		t.Errorf("UTF-16: %v", err)
	}
}
