package credentials

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unit creates a directory of credentials as systemd would, and a store next to it.
func unit(t *testing.T, all map[string]string) (source string, s Store) {
	t.Helper()
	dir := t.TempDir()
	source, s = filepath.Join(dir, "unit"), Store{filepath.Join(dir, "shop.credentials")}
	must(t, os.Mkdir(source, 0o700))
	t.Cleanup(func() { must(t, s.Remove()) })
	for name, value := range all {
		must(t, os.WriteFile(filepath.Join(source, name), []byte(value), 0o400))
	}
	return source, s
}

// copied makes a copy for this user and returns its directory.
func copied(t *testing.T, s Store, source string) string {
	t.Helper()
	dir, err := s.Copy(source, os.Getuid(), os.Getgid())
	must(t, err)
	return dir
}

// change replaces a credential, as a restart of the unit does.
func change(t *testing.T, source, name, value string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(source, name)))
	must(t, os.WriteFile(filepath.Join(source, name), []byte(value), 0o400))
}

func holds(t *testing.T, dir, name, want string) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
		t.Errorf("%s in %s is %q, %v", name, dir, data, err)
	}
}

func TestACopyIsPrivateAndNeverChanges(t *testing.T) {
	source, s := unit(t, map[string]string{"key": "one\n", "empty": ""})
	first := copied(t, s, source)
	for path, mode := range map[string]os.FileMode{first: 0o500, filepath.Join(first, "key"): 0o400, s.Dir: 0o755} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	holds(t, first, "key", "one\n")
	holds(t, first, "empty", "")
	if again := copied(t, s, source); again != first {
		t.Errorf("the same was copied again, to %s", again)
	}
	change(t, source, "key", "two\n")
	second := copied(t, s, source)
	holds(t, first, "key", "one\n")
	holds(t, second, "key", "two\n")
	if newest := s.Newest(os.Getuid()); newest != second {
		t.Errorf("the newest is %s", newest)
	}
	must(t, os.Remove(filepath.Join(source, "empty")))
	if third := copied(t, s, source); third == second {
		t.Error("a removed credential was not noticed")
	}
}

func TestUnusedCopiesAreRemovedAndRemoveRemovesAll(t *testing.T) {
	source, s := unit(t, map[string]string{"key": "one"})
	first := copied(t, s, source)
	change(t, source, "key", "two")
	second := copied(t, s, source)
	must(t, os.Mkdir(filepath.Join(s.Dir, ".0.9"), 0o700)) // left by a crash
	must(t, s.RemoveExcept([]string{second}))
	if left, err := filepath.Glob(filepath.Join(s.Dir, "*")); err != nil || !slices.Equal(left, []string{second}) {
		t.Errorf("left: %v, %v; the first was %s", left, err, first)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, ".0.9")); err == nil {
		t.Error("the leftover of a crash is still there")
	}
	must(t, s.Remove())
	must(t, s.Remove())
	if _, err := os.Stat(s.Dir); err == nil {
		t.Error("the directory is still there")
	}
}

func TestTheLiveCopyIsTheMarkedOneWhateverIsNewer(t *testing.T) {
	source, s := unit(t, map[string]string{"key": "one"})
	first := copied(t, s, source)
	change(t, source, "key", "two")
	second := copied(t, s, source)
	if live := s.Live(os.Getuid()); live != second {
		t.Errorf("before a mark the live one is %s", live)
	}
	must(t, s.MarkLive([]string{source, first}))
	must(t, s.RemoveExcept([]string{first, second}))
	if live := s.Live(os.Getuid()); live != first {
		t.Errorf("the live one is %s", live)
	}
	holds(t, first, "key", "one")
	must(t, s.RemoveExcept([]string{second}))
	if live := s.Live(os.Getuid()); live != second {
		t.Errorf("after the removal of the marked one the live one is %s", live)
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir, "*")); err != nil || !slices.Equal(left, []string{second}) {
		t.Errorf("left: %v, %v", left, err)
	}
	must(t, s.Remove())
}

func TestACopyThatItsUserChangedIsNotReused(t *testing.T) {
	source, s := unit(t, map[string]string{"key": "one"})
	secret := filepath.Join(filepath.Dir(source), "secret")
	must(t, os.WriteFile(secret, []byte("one"), 0o600))
	first := copied(t, s, source)
	must(t, os.Chmod(first, 0o700))
	must(t, os.Remove(filepath.Join(first, "key")))
	must(t, os.Symlink(secret, filepath.Join(first, "key")))
	if second := copied(t, s, source); second == first {
		t.Error("a link was followed")
	}
}

func TestADirectoryOfAnotherUserIsLeftAlone(t *testing.T) {
	writable := func(path string) error {
		must(t, os.Mkdir(path, 0o700))
		return os.Chmod(path, 0o777)
	}
	for name, given := range map[string]func(path string) error{
		"a link":                       func(path string) error { return os.Symlink("elsewhere", path) },
		"a file":                       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a directory writable for all": writable,
	} {
		t.Run(name, func(t *testing.T) {
			source, s := unit(t, map[string]string{"key": "one"})
			must(t, os.Mkdir(filepath.Join(filepath.Dir(source), "elsewhere"), 0o755))
			must(t, given(s.Dir))
			_, err := s.Copy(source, os.Getuid(), os.Getgid())
			if err == nil || !strings.Contains(err.Error(), "belongs to another user") ||
				strings.Contains(err.Error(), "one\"") {
				t.Errorf("%v", err)
			}
			kept := filepath.Join(filepath.Dir(source), "elsewhere")
			must(t, os.Mkdir(filepath.Join(kept, "1.1"), 0o755))
			must(t, errors.Join(s.RemoveExcept(nil), s.Remove()))
			if _, err := os.Stat(filepath.Join(kept, "1.1")); err != nil || s.Newest(1) != "" {
				t.Errorf("it was taken for ours: %v, %s", err, s.Newest(1))
			}
			must(t, os.RemoveAll(s.Dir))
		})
	}
}
