package releases

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// listed makes a release and writes its list, as an install does.
func listed(t *testing.T) Release {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "1.2")
	write(t, filepath.Join(dir, "manage.py"), "print()")
	write(t, filepath.Join(dir, "static", "a b\n\xff.css"), "") // a name that no line of text has
	write(t, filepath.Join(dir, "static", "logo.svg"), "<svg/>")
	must(t, os.Symlink("logo.svg", filepath.Join(dir, "static", "new \"line")))
	must(t, os.Mkdir(filepath.Join(dir, Own), 0o755))
	write(t, filepath.Join(dir, MetadataName), "installed = 2026-11-25T10:00:00Z\nversion = \"1.2\"\n\n[env]\nA = \"1\"\n")
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

func TestVerifySaysWhatIsNotAsItWasInstalled(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(dir string) error
		want Difference
	}{
		"nothing":   {func(string) error { return nil }, Difference{}},
		"a file":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, "manage.py"), []byte("print(1"), 0) }, Difference{Changed: []string{"manage.py (content)"}}},
		"a mode":    {func(dir string) error { return os.Chmod(filepath.Join(dir, "manage.py"), 0o4711) }, Difference{Changed: []string{"manage.py (mode 0711 instead of 0755)"}}},
		"a link":    {func(dir string) error { return relink(filepath.Join(dir, "static", "new \"line"), "/etc/passwd") }, Difference{Changed: []string{`static/new "line (leads to "/etc/passwd" instead of "logo.svg")`}}},
		"a kind":    {func(dir string) error { return relink(filepath.Join(dir, "manage.py"), "x") }, Difference{Changed: []string{"manage.py (was a file, is a link)"}}},
		"more":      {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "x", "y"), 0o755) }, Difference{Added: []string{"x", "x/y"}}},
		"less":      {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "static")) }, Difference{Removed: []string{"static", "static/a b\n\xff.css", "static/logo.svg", "static/new \"line"}}},
		"the env":   {func(dir string) error { return edit(filepath.Join(dir, MetadataName), `A = "1"`, `A = "2"`) }, Difference{Changed: []string{MetadataName + " (content)"}}},
		"the time":  {func(dir string) error { return edit(filepath.Join(dir, MetadataName), "T10", "T11") }, Difference{}},
		"a program": {func(dir string) error { return os.Mkdir(filepath.Join(dir, Own, "bin"), 0o755) }, Difference{Added: []string{Own + "/bin"}}},
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

func TestVerifyPassesOverWhatIsSharedBetweenReleases(t *testing.T) {
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

func TestAListThatIsMissingOrForgedIsNotBelieved(t *testing.T) {
	plain := store(t, "r1")
	if _, err := new(Store).read(filepath.Join(plain.Dir, "r1"), order{}).Verify(t.Context(), nil); !errors.Is(err, ErrNoTree) {
		t.Errorf("a plain directory: %v", err)
	}
	for name, c := range map[string]struct {
		do   func(dir string) error
		says string
	}{
		"forged":          {func(dir string) error { return edit(filepath.Join(dir, treeFile), "manage.py", "manage.pz") }, "is not the one that was written"},
		"without list":    {func(dir string) error { return os.Remove(filepath.Join(dir, treeFile)) }, "no such file"},
		"without hash":    {func(dir string) error { return edit(filepath.Join(dir, MetadataName), "tree =", "wood =") }, "does not say any more"},
		"without both":    {func(dir string) error { return os.Remove(filepath.Join(dir, MetadataName)) }, "does not say any more"},
		"not TOML at all": {func(dir string) error { return edit(filepath.Join(dir, MetadataName), "[env]", "[env") }, "does not say any more"},
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
