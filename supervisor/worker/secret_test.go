package worker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestASecretIsInTheEnvironmentOfAWorkerAndOfACommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("hush\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	secrets := Secrets{"KEY": path}
	spec := Spec{Env: []string{"PATH=/bin"}, Secrets: secrets}
	_, lines := runScript(t, spec, `echo "<$KEY>"`)
	if !slices.Equal(lines, []string{"<hush>"}) {
		t.Errorf("a worker has %q", lines)
	}
	if names := spec.Names(); !slices.Contains(names, "KEY") {
		t.Errorf("its names are %q", names)
	}
	var said []string
	err := Run(
		context.Background(), Command{Args: []string{"/bin/sh", "-c", `echo "<$KEY>"`}, Secrets: secrets, Dir: "/"},
		func(line string) { said = append(said, line) },
	)
	if err != nil || !slices.Equal(said, []string{"<hush>"}) {
		t.Errorf("a command has %q, %v", said, err)
	}
}

func TestASecretThatCannotBeOneIsRefusedWithoutSayingIt(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ value, says string }{
		"a NUL byte": {"hush\x00", "has a NUL byte, which no variable can have"},
		"too long":   {strings.Repeat("hush", 128<<10/4), "is longer than 127 KB"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.value), 0o400); err != nil {
			t.Fatal(err)
		}
		_, err := ReadSecret(path)
		if err == nil || !strings.HasSuffix(err.Error(), c.says) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for value, want := range map[string]string{
		"": "", "a": "a", "a\n": "a", "a\r\n": "a", "a\n\n": "a\n", " a ": " a ",
	} {
		path := filepath.Join(dir, "good")
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSecret(path); err != nil || got != want {
			t.Errorf("%q is read as %q, %v", value, got, err)
		}
	}
	_, err := Start(t.Context(), Spec{Command: []string{"/bin/true"}, Secrets: Secrets{"KEY": "/nonexistent/key"}, Dir: dir})
	if err == nil ||
		err.Error() != "environment variable KEY: open /nonexistent/key: no such file or directory: the file was removed; superctl reload creates it again" {
		t.Errorf("%v", err)
	}
}
