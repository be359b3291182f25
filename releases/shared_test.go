package releases

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shared makes a release and a shared directory.
func shared(t *testing.T) (r Release, media string) {
	t.Helper()
	s := store(t, "r1")
	r, err := s.Resolve("r1", Refs{})
	must(t, err)
	media = filepath.Join(filepath.Dir(s.Dir), "media")
	must(t, os.Mkdir(media, 0o755))
	return r, media
}

// leads checks that a path is a link to the target.
func leads(t *testing.T, path, target string) {
	t.Helper()
	if to, err := os.Readlink(path); err != nil || to != target {
		t.Errorf("%s leads to %q, %v; want %s", path, to, err, target)
	}
}

// tree returns every path below dir with its mode.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			list = append(list, path+" "+st.Mode().String())
		}
		return err
	}))
	return list
}

func TestASharedPathBecomesALinkIfNothingIsLost(t *testing.T) {
	const mode = 0o755
	media := func(dir string) string { return filepath.Join(dir, "media") }
	for name, given := range map[string]func(dir, target string) error{
		"nothing":               func(string, string) error { return nil },
		"an empty directory":    func(dir, _ string) error { return os.Mkdir(media(dir), mode) },
		"a link elsewhere":      func(dir, _ string) error { return os.Symlink("/srv/old/media", media(dir)) },
		"a link that leads out": func(dir, _ string) error { return os.Symlink("../../old", media(dir)) },
		"the link":              func(dir, target string) error { return os.Symlink(target, media(dir)) },
		"a leftover of a crash": func(dir, target string) error {
			return os.Symlink(target, filepath.Join(dir, ".media.superctl"))
		},
		"a directory that git keeps": func(dir, _ string) error {
			return errors.Join(os.Mkdir(media(dir), mode),
				os.WriteFile(filepath.Join(media(dir), ".gitkeep"), nil, 0o600))
		},
		"directories that cannot be written to": func(dir, _ string) error {
			return errors.Join(os.Mkdir(media(dir), mode), os.WriteFile(filepath.Join(media(dir), ".keep"), nil, 0o600),
				os.Chmod(media(dir), 0o555), os.Chmod(dir, 0o555))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, media := shared(t)
			must(t, given(r.Path, media))
			before, err := os.Stat(r.Path)
			must(t, err)
			how := Sharing{Paths: map[string]string{"media": media}}
			made, err := r.Share(how)
			must(t, err)
			leads(t, filepath.Join(r.Path, "media"), media)
			if (len(made) == 0) != (name == "the link") {
				t.Errorf("it made %q", made)
			}
			after, err := os.Stat(r.Path)
			must(t, err)
			if before.Mode() != after.Mode() {
				t.Errorf("the release was %s and is %s", before.Mode(), after.Mode())
			}
			if made, err := r.Share(how); err != nil || len(made) > 0 {
				t.Errorf("again: %q, %v", made, err)
			}
			for _, in := range []bool{true, false} {
				how := Sharing{Paths: how.Paths, InUse: in, Replace: !in}
				if made, err := r.Share(how); err != nil || len(made) > 0 {
					t.Errorf("again, in use %v: %q, %v", in, made, err)
				}
			}
			leftover := func(p string) bool { return strings.Contains(p, ".superctl") && name != "the link" }
			if left := tree(t, r.Path); slices.ContainsFunc(left, leftover) {
				t.Errorf("left over: %q", left)
			}
			must(t, os.Chmod(r.Path, 0o755)) // so that it can be removed
		})
	}
}

func TestASharedPathDeepInsideGetsItsDirectories(t *testing.T) {
	r, media := shared(t)
	must(t, os.Mkdir(filepath.Join(r.Path, "var"), 0o555))
	_, err := r.Share(Sharing{Paths: map[string]string{"var/lib/media/": media}})
	must(t, err)
	leads(t, filepath.Join(r.Path, "var", "lib", "media"), media)
	if st, err := os.Stat(filepath.Join(r.Path, "var")); err != nil || st.Mode().Perm() != 0o555 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	must(t, os.Chmod(filepath.Join(r.Path, "var"), 0o755)) // so that it can be removed
}

func TestAnImpossibleSharedPathChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		given  func(dir, media string) error
		how    Sharing
		target string
		says   string
	}{
		"content": {
			given: func(dir, _ string) error {
				return errors.Join(os.Mkdir(filepath.Join(dir, "media"), 0o755),
					os.WriteFile(filepath.Join(dir, "media", "logo.png"), nil, 0o600))
			},
			says: `shared.media: release r1 brings a directory with logo.png at R/media, ` +
				`which the link to M would hide: remove it from the release (move what you need to M, ` +
				`then rm -r R/media), or remove media from [shared]`,
		},
		"a file": {
			given: func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, "media"), nil, 0o600) },
			says:  `release r1 brings a file at R/media`,
		},
		"a directory that is called .gitkeep": {
			given: func(dir, _ string) error { return os.MkdirAll(filepath.Join(dir, "media", ".gitkeep"), 0o755) },
			says:  `brings a directory with .gitkeep`,
		},
		"a link inside": {
			given: func(dir, _ string) error { return os.Symlink("static", filepath.Join(dir, "media")) },
			says:  `release r1 brings a link to static at R/media`,
		},
		"a parent that leads out": {
			given: func(dir, media string) error { return os.Symlink(media, filepath.Join(dir, "var")) },
			how:   Sharing{Paths: map[string]string{"var/media": ""}},
			says: `shared.var/media: a link in release r1 leads var/media out of it; ` +
				`shared paths must be in directories of the release itself`,
		},
		"a parent that is a file": {
			given: func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, "var"), nil, 0o600) },
			how:   Sharing{Paths: map[string]string{"var/media": ""}},
			says:  `not a directory`,
		},
		"a path that leads out": {
			how:  Sharing{Paths: map[string]string{"../r2": ""}},
			says: `out of it`,
		},
		"no target": {
			how: Sharing{Owner: "shop:www"}, target: "/nonexistent/media",
			says: `shared.media: /nonexistent/media does not exist: install -d -o shop -g www /nonexistent/media`,
		},
		"an empty directory that workers see": {
			given: func(dir, _ string) error { return os.Mkdir(filepath.Join(dir, "media"), 0o755) },
			how:   Sharing{InUse: true},
			says: `shared.media: R/media is an empty directory, and workers run from r1: ` +
				`it becomes a link in the next release that is switched to`,
		},
		"another link that workers see": {
			given: func(dir, _ string) error { return os.Symlink("/srv/old", filepath.Join(dir, "media")) },
			how:   Sharing{InUse: true},
			says:  `shared.media: R/media is a link to /srv/old, and workers run from r1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, media := shared(t)
			if c.given != nil {
				must(t, c.given(r.Path, media))
			}
			paths := map[string]string{"assets": media} // which would be possible
			for name := range c.how.Paths {
				paths[name] = media
			}
			if c.how.Paths == nil {
				paths["media"] = media
			}
			if c.target != "" {
				paths["media"] = c.target
			}
			c.how.Paths = paths
			before := tree(t, filepath.Dir(r.Path))
			made, err := r.Share(c.how)
			says := strings.NewReplacer("R/", r.Path+"/", "M", media).Replace(c.says)
			if err == nil || !strings.Contains(err.Error(), says) || len(made) > 0 {
				t.Errorf("it made %q, and the error is\n%v\nwant\n%s", made, err, says)
			}
			if after := tree(t, filepath.Dir(r.Path)); !slices.Equal(before, after) {
				t.Errorf("changed:\n%q\n%q", before, after)
			}
		})
	}
}

func TestInACopyTheLinkReplacesTheReleasesContent(t *testing.T) {
	r, media := shared(t)
	write(t, filepath.Join(media, "kept"), "")
	write(t, filepath.Join(r.Path, "media", "deep", "logo.png"), "")
	must(t, os.Symlink(media, filepath.Join(r.Path, "media", "out")))
	made, err := r.Share(Sharing{Paths: map[string]string{"media": media}, Replace: true})
	if err != nil || len(made) != 1 || !strings.Contains(made[0], "instead of what the release brings") {
		t.Errorf("%q, %v", made, err)
	}
	leads(t, filepath.Join(r.Path, "media"), media)
	if _, err := os.Stat(filepath.Join(media, "kept")); err != nil {
		t.Errorf("the shared file was removed: %v", err)
	}
}
