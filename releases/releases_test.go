package releases

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// store returns a store of releases. Each was installed a minute after the one before.
func store(t *testing.T, names ...string) *Store {
	t.Helper()
	top := t.TempDir()
	s := &Store{Dir: filepath.Join(top, "releases"), Current: filepath.Join(top, "current")}
	must(t, os.Mkdir(s.Dir, 0o755))
	for i, name := range names {
		write(t, filepath.Join(s.Dir, name, "manage.py"), "")
		at := time.Unix(1_700_000_000, 0).Add(time.Duration(i) * time.Minute)
		must(t, os.Chtimes(filepath.Join(s.Dir, name), at, at))
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o755))
}

func TestAWordMeansOneReleaseOrTheNearestAreNamed(t *testing.T) {
	s := store(t, "2026-11-01-a", "2026-11-02-b", "2026-11-02-c", "live")
	write(t, filepath.Join(s.Dir, "2026-11-01-a", "REVISION"), "4be9f00d4be9f00d4be9f00d4be9f00d4be9f00d\n")
	must(t, os.Chtimes(filepath.Join(s.Dir, "2026-11-01-a"), time.Unix(1, 0), time.Unix(1, 0)))
	refs := Refs{Live: "2026-11-02-b", Previous: "2026-11-01-a"}
	for word, want := range map[string]string{
		"2026-11-02-b": "2026-11-02-b", "2026-11-01": "2026-11-01-a", "4be9": "2026-11-01-a", "4BE9F0": "2026-11-01-a",
		"latest": "live", "previous": "2026-11-01-a", "current": "2026-11-02-b",
		"live": "live", // a name takes precedence over a word
	} {
		if r, err := s.Resolve(word, refs); err != nil || r.Name != want {
			t.Errorf("%s: %s, %v; want %s", word, r.Name, err, want)
		}
	}
	for word, says := range map[string]string{
		"2026-11-02":     `"2026-11-02" is ambiguous: it could be 2026-11-02-c, 2026-11-02-b`,
		"2026-12-02-b":   `no release matches "2026-12-02-b"; did you mean 2026-11-02-b or 2026-11-0`,
		"LATEST":         `no release matches "LATEST"; did you mean latest? (superctl releases lists all)`,
		"tuesday":        `no release matches "tuesday" (superctl releases lists all)`,
		"4be":            `no release matches "4be"`, // three digits of a commit are too few
		"../../etc":      "no release matches",
		"/srv/elsewhere": "no release matches",
	} {
		if r, err := s.Resolve(word, refs); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %s, %v", word, r.Name, err)
		}
	}
	for _, word := range []string{"previous", "current"} {
		if _, err := s.Resolve(word, Refs{}); err == nil {
			t.Errorf("%s was found where there is none", word)
		}
	}
}

func TestAnInvalidDirectoryOfReleasesIsRefused(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, "file"), "")
	for path, says := range map[string]string{
		filepath.Join(top, "none"): "does not exist: make it", filepath.Join(top, "file"): "is a file",
	} {
		if _, err := Open(path, ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := store(t).Resolve("x", Refs{}); err == nil || !strings.Contains(err.Error(), "there is no release in") {
		t.Errorf("empty: %v", err)
	}
}

func TestOnlyReleasesAreListedBrokenOnesWithAReason(t *testing.T) {
	s := store(t, "good", "copying", "odd")
	write(t, filepath.Join(s.Dir, "copying", Incomplete), "")
	write(t, filepath.Join(s.Dir, "odd", "release.toml"), "commit = [")
	write(t, filepath.Join(s.Dir, "notes.txt"), "")
	write(t, filepath.Join(s.Dir, ".cache", "x"), "")
	must(t, os.Mkdir(filepath.Join(s.Dir, "empty"), 0o755))
	must(t, os.Symlink("gone", filepath.Join(s.Dir, "dangling")))
	s.Current = filepath.Join(s.Dir, "current") // as on some sites
	must(t, os.Symlink("good", s.Current))
	list, err := s.List()
	must(t, err)
	want := map[string]string{
		"good": "", "copying": Incomplete, "odd": "release.toml cannot be read",
		"empty": "is empty", "dangling": "cannot be reached",
	}
	for _, r := range list {
		says, ok := want[r.Name]
		if !ok || (r.Broken == nil) != (says == "") || r.Broken != nil && !strings.Contains(r.Broken.Error(), says) {
			t.Errorf("%s: %v", r.Name, r.Broken)
		}
		delete(want, r.Name)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestAFIFOInTheReleaseDoesNotBlock(t *testing.T) {
	s := store(t, "r")
	must(t, syscall.Mkfifo(filepath.Join(s.Dir, "r", "release.toml"), 0o644))
	if _, err := s.Get(filepath.Join(s.Dir, "r")); err != nil {
		t.Error(err)
	}
}

func TestABrokenVirtualenvIsFoundBeforeAnythingStarts(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		opt  CheckOptions
		says string
	}{
		"none":           {func(*testing.T, string) {}, CheckOptions{}, "it has no virtualenv"},
		"none is needed": {func(*testing.T, string) {}, CheckOptions{NoVirtualenv: true}, ""},
		"without interpreter": {
			func(t *testing.T, dir string) { write(t, dir+"/venv/pyvenv.cfg", "") }, CheckOptions{}, "is missing",
		},
		"a Python that is gone": {func(t *testing.T, dir string) {
			must(t, os.MkdirAll(dir+"/venv/bin", 0o755))
			must(t, os.Symlink("/opt/python3.9/bin/python3", dir+"/venv/bin/python"))
		}, CheckOptions{}, "leads to /opt/python3.9/bin/python3, which does not exist"},
		"copied from elsewhere": {func(t *testing.T, dir string) {
			write(t, dir+"/venv/bin/python", "")
			write(t, dir+"/venv/bin/gunicorn", "#!/home/me/build/venv/bin/python\n")
		}, CheckOptions{}, "was made elsewhere"},
		"does not run": {func(t *testing.T, dir string) { write(t, dir+"/.venv/bin/python", "") }, CheckOptions{
			Run: func(context.Context, ...string) (string, error) {
				return "libpython3.9.so: not found\n", errors.New("exit code 127")
			},
		}, "does not run: exit code 127\n  libpython3.9.so: not found"},
		"good": {func(t *testing.T, dir string) {
			write(t, dir+"/venv/bin/python", "")
			write(t, dir+"/venv/bin/gunicorn", "#!"+dir+"/venv/bin/python\n")
			write(t, dir+"/venv/bin/tool", "#!/usr/bin/python3 -E\n")
			write(t, dir+"/venv/bin/binary", "\x7fELF")
		}, CheckOptions{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := store(t, "r")
			dir := filepath.Join(s.Dir, "r")
			c.make(t, dir)
			r, err := s.Get(dir)
			must(t, err)
			err = r.Check(t.Context(), c.opt)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTheCurrentLinkOfACopiedSiteLeadsToNoReleaseOfIt(t *testing.T) {
	original, copied := ordered(t, "r1"), ordered(t, "r1")
	for _, current := range []string{filepath.Join(filepath.Dir(copied.Dir), "current"), filepath.Join(copied.Dir, "current")} {
		copied.Current = current
		must(t, os.Symlink(filepath.Join(original.Dir, "r1"), current))
		if _, err := copied.CurrentTarget(); err == nil || !strings.Contains(err.Error(), "which is no release in "+copied.Dir) {
			t.Errorf("%s: %v", current, err)
		}
		must(t, os.Remove(current))
		must(t, os.Symlink(filepath.Join(copied.Dir, "r1"), current))
		if r, err := copied.CurrentTarget(); err != nil || r.Name != "r1" {
			t.Errorf("%s: %s, %v", current, r.Name, err)
		}
	}
}

func TestARelativeLinkToTheReleaseIsLeftAlone(t *testing.T) {
	s := store(t, "a")
	rel, err := filepath.Rel(filepath.Dir(s.Current), filepath.Join(s.Dir, "a"))
	must(t, err)
	must(t, os.Symlink(rel, s.Current))
	must(t, s.Point(filepath.Join(s.Dir, "a")))
	if to, err := os.Readlink(s.Current); err != nil || to != rel {
		t.Errorf("the link became %q, %v", to, err)
	}
}

func TestTheCurrentLinkFollowsAndOtherFilesAreLeftAlone(t *testing.T) {
	s := store(t, "a", "b")
	for _, name := range []string{"a", "b", "b"} {
		must(t, s.Point(filepath.Join(s.Dir, name)))
		if r, err := s.CurrentTarget(); err != nil || r.Name != name {
			t.Errorf("%+v, %v", r, err)
		}
	}
	must(t, os.Remove(s.Current))
	must(t, os.Mkdir(s.Current, 0o755))
	err := s.Point(filepath.Join(s.Dir, "a"))
	if err == nil || !strings.Contains(err.Error(), "is not a symbolic link") {
		t.Errorf("%v", err)
	}
	if _, err := s.CurrentTarget(); err == nil {
		t.Error("a directory was taken for the link")
	}
}
