package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheVirtualenvOfAReleaseIsAsPythonMakesIt compares it with a real one, but for the packages, the scripts, and the
// command in pyvenv.cfg.
func TestTheVirtualenvOfAReleaseIsAsPythonMakesIt(t *testing.T) {
	out, err := exec.Command("../../scripts/deps", "--demo").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	cache := lines[len(lines)-1]
	base, err := filepath.EvalSymlinks(filepath.Join(cache, "bin", "python3"))
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "venv")
	if out, err := exec.Command(base, "-m", "venv", "--without-pip", at).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := tree(t, at)
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := (Builder{Cache: cache}).Virtualenv(at); err != nil {
		t.Fatal(err)
	}
	got := tree(t, at)
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s is\n%s\nand not\n%s", name, got[name], content)
		}
	}
	prefix, err := exec.Command(filepath.Join(at, "bin", "python"), "-c", "import sys, gunicorn; print(sys.prefix)").CombinedOutput()
	if err != nil || strings.TrimSpace(string(prefix)) != at {
		t.Errorf("its interpreter: %v: %s", err, prefix)
	}
}

// tree returns the content of every file of a directory, the targets of its links, and its directories.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var content []byte
		text := "a directory"
		switch {
		case d.Type() == os.ModeSymlink:
			text, err = os.Readlink(path)
		case !d.IsDir():
			content, err = os.ReadFile(path)
			text, _, _ = strings.Cut(string(content), "\ncommand = ")
		}
		all[strings.TrimPrefix(path, dir)] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
