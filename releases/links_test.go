package releases

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSuperctlsOwnFilesAreNotReachedThroughALink(t *testing.T) {
	for name, target := range map[string]string{
		".superctl": "dir", ".superctl/lock": "dir/r1", ".superctl/pins": "dir",
	} {
		t.Run(name, func(t *testing.T) {
			s := whole(t, "r1", "r2")
			outside := t.TempDir()
			write(t, filepath.Join(outside, "dir", "r1"), "root's")
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(s.Dir, name)), 0o755))
			must(t, os.Symlink(filepath.Join(outside, target), filepath.Join(s.Dir, name)))
			_, pruned := s.Prune(t.Context(), options(1))
			_, pinned := s.Pin("r2", Pin{Note: "why"})
			_, unpinned := s.Unpin("r1")
			for _, err := range []error{pruned, pinned, unpinned} {
				path := filepath.Join(s.Dir, name)
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), "symbolic link") || !strings.Contains(err.Error(), path) {
					t.Error(err)
				}
			}
			if pruned == nil && pinned == nil && unpinned == nil {
				t.Error("nothing was refused")
			}
			entries, err := os.ReadDir(filepath.Join(outside, "dir"))
			must(t, err)
			text, err := os.ReadFile(filepath.Join(outside, "dir", "r1"))
			if err != nil || string(text) != "root's" || len(entries) != 1 {
				t.Errorf("%q, %v, %v", text, err, entries)
			}
		})
	}
}

func TestAReleaseThatBecomesALinkIsNotFollowedByAPrune(t *testing.T) {
	s := whole(t, "r1", "r2")
	outside := filepath.Join(t.TempDir(), "dir")
	write(t, filepath.Join(outside, "precious"), "x")
	opt := options(1)
	called := false
	hidden := filepath.Join(s.Dir, ".r1.hidden")
	// The release has been renamed already: this is the last moment at which a link can be
	// inserted.
	opt.Protected = func(context.Context) (map[string]string, error) {
		if _, err := os.Lstat(hidden); err == nil {
			called = true
			must(t, os.Rename(hidden, filepath.Join(s.Dir, "old")))
			must(t, os.Symlink(outside, hidden))
		}
		return map[string]string{}, nil
	}
	_, err := s.Prune(t.Context(), opt)
	must(t, err)
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil || !called {
		t.Errorf("%v, %v", err, called)
	}
}

func TestRootReadsNoSecretOfAnotherUserThroughALink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the rule only applies to root")
	}
	const shop, blog = 33, 34
	own := func(path string, uid int) string {
		must(t, os.Lchown(path, uid, uid))
		return path
	}
	secret := filepath.Join(t.TempDir(), MetadataName)
	write(t, secret, "[env]\nTOKEN = \"blog's\"\n")
	own(secret, blog)
	own(filepath.Dir(secret), blog)
	s := whole(t, "r1", "r2")
	for _, name := range []string{"r1", "r2"} {
		own(filepath.Join(s.Dir, name), shop)
	}
	must(t, os.Symlink(secret, filepath.Join(s.Dir, "r1", MetadataName)))
	own(filepath.Join(s.Dir, "r1", MetadataName), shop)
	must(t, os.Symlink(filepath.Dir(secret), filepath.Join(s.Dir, "r3")))
	own(filepath.Join(s.Dir, "r3"), shop)
	must(t, os.Symlink("r2", filepath.Join(s.Dir, "stable")))
	own(filepath.Join(s.Dir, "stable"), shop)
	own(filepath.Join(s.Dir, "r2"), 0) // as if installed by root
	list, err := s.List()
	must(t, err)
	for _, r := range list {
		if len(r.Env) > 0 || (r.Name == "stable" || r.Name == "r2") != (r.Broken == nil) {
			t.Errorf("%s: %v, %v", r.Name, r.Env, r.Broken)
		}
	}
}
