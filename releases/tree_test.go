package releases

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// listed makes a release with a list of its files, as an install does.
func listed(t *testing.T) Release {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "1.2")
	write(t, filepath.Join(dir, "manage.py"), "print()")
	write(t, filepath.Join(dir, "static", "a b\n\xff.css"), "") // not valid in a line of text
	write(t, filepath.Join(dir, "static", "logo.svg"), "<svg/>")
	must(t, os.Symlink("logo.svg", filepath.Join(dir, "static", "new \"line")))
	must(t, os.Mkdir(filepath.Join(dir, Own), 0o755))
	metadata := "installed = 2026-11-25T10:00:00Z\nversion = \"1.2\"\n\n[env]\nA = \"1\"\n"
	write(t, filepath.Join(dir, MetadataName), metadata)
	tree, err := ReadTree(t.Context(), dir, nil)
	must(t, err)
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	hash, err := tree.Write(root)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(dir, MetadataName))
	must(t, err)
	write(t, filepath.Join(dir, MetadataName), "tree = \""+hash+"\"\n"+string(text))
	return new(Store).read(dir, order{})
}

func TestVerifyReportsChangesSinceTheInstallation(t *testing.T) {
	python := func(dir string) string { return filepath.Join(dir, "manage.py") }
	for name, c := range map[string]struct {
		do   func(dir string) error
		want Difference
	}{
		"nothing": {func(string) error { return nil }, Difference{}},
		"a file": {
			func(dir string) error { return os.WriteFile(python(dir), []byte("print(1"), 0) },
			Difference{Changed: []string{"manage.py (content)"}},
		},
		"a mode": {
			func(dir string) error { return os.Chmod(python(dir), 0o4711) },
			Difference{Changed: []string{"manage.py (mode 0711 instead of 0755)"}},
		},
		"a link": {
			func(dir string) error { return relink(filepath.Join(dir, "static", "new \"line"), "/etc/passwd") },
			Difference{Changed: []string{`static/new "line (leads to "/etc/passwd" instead of "logo.svg")`}},
		},
		"a kind": {
			func(dir string) error { return relink(python(dir), "x") },
			Difference{Changed: []string{"manage.py (was a file, is a link)"}},
		},
		"more": {
			func(dir string) error { return os.MkdirAll(filepath.Join(dir, "x", "y"), 0o755) },
			Difference{Added: []string{"x", "x/y"}},
		},
		"less": {
			func(dir string) error { return os.RemoveAll(filepath.Join(dir, "static")) },
			Difference{Removed: []string{"static", "static/a b\n\xff.css", "static/logo.svg", "static/new \"line"}},
		},
		"the env": {
			func(dir string) error { return edit(filepath.Join(dir, MetadataName), `A = "1"`, `A = "2"`) },
			Difference{Changed: []string{MetadataName + " (content)"}},
		},
		"the time": {
			func(dir string) error { return edit(filepath.Join(dir, MetadataName), "T10", "T11") }, Difference{},
		},
		"a program": {
			func(dir string) error { return os.Mkdir(filepath.Join(dir, Own, "bin"), 0o755) },
			Difference{Added: []string{Own + "/bin"}},
		},
	} {
		r := listed(t)
		must(t, c.do(r.Path))
		got, err := r.Verify(t.Context(), nil)
		if err != nil || !reflect.DeepEqual(c.want, got) || got.Empty() != reflect.DeepEqual(c.want, Difference{}) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func relink(path, target string) error { return errors.Join(os.Remove(path), os.Symlink(target, path)) }

func edit(path, what, by string) error {
	text, err := os.ReadFile(path)
	return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(text), what, by, 1)), 0o644))
}

func TestVerifyIgnoresSharedPaths(t *testing.T) {
	r := listed(t)
	must(t, os.RemoveAll(filepath.Join(r.Path, "static")))
	must(t, os.Symlink("/srv/shared/static", filepath.Join(r.Path, "static")))
	must(t, os.Mkdir(filepath.Join(r.Path, "var"), 0o755))
	must(t, os.Symlink("/srv/shared/media", filepath.Join(r.Path, "var", "media")))
	d, err := r.Verify(t.Context(), []string{"static", "var/media"})
	if err != nil || !d.Empty() {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestAMissingOrForgedListIsAnError(t *testing.T) {
	plain := store(t, "r1")
	r1 := new(Store).read(filepath.Join(plain.Dir, "r1"), order{})
	if _, err := r1.Verify(t.Context(), nil); !errors.Is(err, ErrNoTree) {
		t.Errorf("a plain directory: %v", err)
	}
	editMetadata := func(what, by string) func(string) error {
		return func(dir string) error { return edit(filepath.Join(dir, MetadataName), what, by) }
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for name, c := range map[string]struct {
		do   func(dir string) error
		says string
	}{
		"forged": {
			func(dir string) error { return edit(filepath.Join(dir, treeFile), "manage.py", "manage.pz") },
			"was changed after the installation",
		},
		"without list":    {remove(treeFile), "no such file"},
		"without hash":    {editMetadata("tree =", "wood ="), "no longer has the hash"},
		"without both":    {remove(MetadataName), "no longer has the hash"},
		"not TOML at all": {editMetadata("[env]", "[env"), "no longer has the hash"},
	} {
		r := listed(t)
		must(t, c.do(r.Path))
		if d, err := r.Verify(t.Context(), nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add("f 0444 3 abc \"manage.py\"\nl 0777 0 \"a b\" \"x\\xff\"\nd 0555 0 - \"d\"\n")
	f.Add("\xb0 0 0 - \"of an unknown type\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		tree, err := parseTree([]byte(text))
		if err != nil {
			return
		}
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, Own), 0o755))
		root, err := os.OpenRoot(dir)
		must(t, err)
		defer root.Close()
		if _, err := tree.Write(root); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(filepath.Join(dir, treeFile))
		must(t, err)
		if second, err := parseTree(again); err != nil || !reflect.DeepEqual(tree, second) {
			t.Errorf("%v: %+v; want %+v", err, second, tree)
		}
	})
}
