package assets

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is an app with releases and a set of static files.
type site struct {
	*Set
	t   *testing.T
	dir string
}

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "state"), 0o750))
	return &site{t: t, dir: dir, Set: &Set{
		Name: "static", App: "shop", From: "static", To: filepath.Join(dir, "public"), Keep: time.Hour,
		State: filepath.Join(dir, "state"), Owner: "shop:shop",
	}}
}

func (s *site) path(elem ...string) string { return filepath.Join(append([]string{s.dir}, elem...)...) }

// release makes a release with static files, as path=content.
func (s *site) release(name string, files ...string) Release {
	s.t.Helper()
	r := Release{name, s.path(name)}
	must(s.t, os.MkdirAll(filepath.Join(r.Path, s.From), 0o755))
	for _, f := range files {
		path, content, _ := strings.Cut(f, "=")
		path = filepath.Join(r.Path, s.From, path)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.t, os.WriteFile(path, []byte(content), 0o644))
	}
	return r
}

// public returns the published files, as path=content. It fails if the web server could not read one.
func (s *site) public() (list []string) {
	s.t.Helper()
	must(s.t, filepath.WalkDir(s.To, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == filepath.Join(s.To, marker) {
			return err
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if st.Mode()&0o005 != 0o005 {
				s.t.Errorf("%s has the mode %s", path, st.Mode())
			}
			return nil
		}
		if st.Mode()&0o004 == 0 {
			s.t.Errorf("%s has the mode %s", path, st.Mode())
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(s.To, path)
		list = append(list, name+"="+string(content))
		return err
	}))
	return list
}

func (s *site) want(files ...string) {
	s.t.Helper()
	slices.Sort(files)
	got := s.public()
	slices.Sort(got)
	if !slices.Equal(got, files) {
		s.t.Errorf("%q are published, want %q", got, files)
	}
}

func (s *site) publish(r Release) {
	s.t.Helper()
	if _, err := s.Publish(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) refresh(r Release) {
	s.t.Helper()
	if _, err := s.Refresh(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
}

func TestFilesOfAllReleasesArePublished(t *testing.T) {
	s := newSite(t)
	r1 := s.release("r1", "site.1.css=1", "logo.png=old", "js/app.js=same", "staticfiles.json={1}", ".git/x=")
	r2 := s.release("r2", "site.2.css=2", "logo.png=new", "js/app.js=same", "staticfiles.json={2}", ".well-known/y=y")
	s.refresh(r1)
	s.want("site.1.css=1", "logo.png=old", "js/app.js=same")
	res, err := s.Publish(t.Context(), r2)
	must(t, err)
	if want := (Result{Files: 4, Added: 2, Changed: 1}); res != want {
		t.Errorf("%+v, want %+v", res, want)
	}
	s.want("site.1.css=1", "site.2.css=2", "logo.png=old", "js/app.js=same", ".well-known/y=y")
	s.refresh(r2)
	s.want("site.1.css=1", "site.2.css=2", "logo.png=new", "js/app.js=same", ".well-known/y=y")
	s.refresh(r1) // a rollback
	s.want("site.1.css=1", "site.2.css=2", "logo.png=old", "js/app.js=same", ".well-known/y=y")
	for path, want := range map[string]string{"r1/static/logo.png": "old", "r2/static/logo.png": "new"} {
		if got, err := os.ReadFile(s.path(path)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", path, got, err)
		}
	}
	one, err := os.Stat(s.path("r1/static/logo.png"))
	must(t, err)
	if other, err := os.Stat(s.path("public/logo.png")); err != nil || !os.SameFile(one, other) {
		t.Errorf("logo.png is no hard link: %v", err)
	}
}

// Whatever a name is, only a rename gives it other content: nothing is written through a link.
func TestNothingIsWrittenThroughALink(t *testing.T) {
	const victim = "of another user"
	for name, c := range map[string]struct {
		make    func(at, victim string) error
		publish string // what the name has after Publish; "" = Publish fails
		refresh string
	}{
		"nothing":          {func(string, string) error { return nil }, "new", "new"},
		"another file":     {func(at, _ string) error { return os.WriteFile(at, []byte("old"), 0o644) }, "old", "new"},
		"the same content": {func(at, _ string) error { return os.WriteFile(at, []byte("new"), 0o644) }, "new", "new"},
		"a link":           {func(at, victim string) error { return os.Symlink(victim, at) }, victim, "new"},
		"a hard link":      {func(at, victim string) error { return os.Link(victim, at) }, victim, "new"},
		"a FIFO":           {func(at, _ string) error { return unix.Mkfifo(at, 0o644) }, "FIFO", "new"},
		"a directory":      {func(at, _ string) error { return os.Mkdir(at, 0o755) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := s.release("r1", "css/site.css=new")
			at := s.path("public", "css", "site.css")
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			must(t, os.WriteFile(s.path("victim"), []byte(victim), 0o644))
			must(t, c.make(at, s.path("victim")))
			for _, step := range []struct {
				do   func() error
				want string
			}{
				{func() error { _, err := s.Publish(t.Context(), r); return err }, c.publish},
				{func() error { _, err := s.Refresh(t.Context(), r); return err }, c.refresh},
			} {
				err := step.do()
				if step.want == "" {
					if err == nil || !strings.Contains(err.Error(), "is a directory, and a file in release r1") {
						t.Errorf("error %v", err)
					}
					continue
				}
				must(t, err)
				if got := content(at); got != step.want {
					t.Errorf("it is %q, want %q", got, step.want)
				}
			}
			for path, want := range map[string]string{s.path("victim"): victim, s.path("r1/static/css/site.css"): "new"} {
				if got := content(path); got != want {
					t.Errorf("%s is %q", path, got)
				}
			}
		})
	}
}

func content(path string) string {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return "FIFO"
	}
	data, err := os.ReadFile(path)
	return string(data) + errorText(err)
}

func errorText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestADirectoryThatIsALinkIsRefused(t *testing.T) {
	s := newSite(t)
	r := s.release("r1", "css/site.css=new")
	must(t, os.Mkdir(s.path("elsewhere"), 0o755))
	must(t, os.Mkdir(s.To, 0o755))
	must(t, os.Symlink(s.path("elsewhere"), s.path("public", "css")))
	for _, do := range []func() error{
		func() error { _, err := s.Publish(t.Context(), r); return err },
		func() error { _, err := s.Refresh(t.Context(), r); return err },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("error %v", err)
		}
	}
	if left, err := os.ReadDir(s.path("elsewhere")); err != nil || len(left) > 0 {
		t.Errorf("%v is there, %v", left, err)
	}
}

func TestWhatAReleaseMayHave(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir, outside string) error // in the directory of static files
		says string                          // "" = it is published as css/site.css
	}{
		"a link inside": {func(dir, _ string) error { return os.Symlink("../../site.css", dir+"/css/site.css") }, ""},
		"a file that others may not read": {func(dir, _ string) error {
			return os.WriteFile(dir+"/css/site.css", []byte("a"), 0o600)
		}, ""},
		"a link out of the release": {func(dir, outside string) error {
			return os.Symlink(outside, dir+"/css/site.css")
		}, "assets.static: static/css/site.css of release r1 leads out of the release"},
		"a link to a directory": {
			func(dir, _ string) error { return os.Symlink(".", dir+"/css/site.css") },
			"it is a link to a directory",
		},
		"a FIFO":       {func(dir, _ string) error { return unix.Mkfifo(dir+"/css/site.css", 0o644) }, "not a regular file"},
		"no directory": {func(dir, _ string) error { return os.RemoveAll(dir) }, "release r1 has no directory static"},
		"a file in its place": {func(dir, _ string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644))
		}, "not a directory"},
		"a link in its place": {func(dir, outside string) error {
			return errors.Join(os.RemoveAll(dir), os.Symlink(filepath.Dir(outside), dir))
		}, "static of release r1 leads out of the release"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := s.release("r1")
			must(t, os.WriteFile(s.path("r1", "site.css"), []byte("a"), 0o644))
			must(t, os.WriteFile(s.path("outside"), []byte("secret"), 0o644))
			must(t, os.Mkdir(s.path("r1/static/css"), 0o755))
			must(t, c.make(s.path("r1/static"), s.path("outside")))
			for what, do := range map[string]func() error{
				"look":    func() error { _, err := s.Look(t.Context(), r); return err },
				"publish": func() error { _, err := s.Publish(t.Context(), r); return err },
			} {
				err := do()
				if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v, want %q", what, err, c.says)
				}
			}
			if c.says == "" {
				s.want("css/site.css=a")
			} else if _, err := os.Stat(s.To); err == nil {
				s.want()
			}
		})
	}
}

// killed is the end of a daemon between two changes on disk.
type killed struct{}

// until runs do, and ends it before its n-th change on disk. It reports whether it has ended before.
func (s *site) until(n int, do func() error) (whole bool) {
	s.t.Helper()
	defer func() {
		s.step = nil
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
		}
	}()
	s.step = func(string) {
		if n--; n < 0 {
			panic(killed{})
		}
	}
	must(s.t, do())
	return true
}

func TestADaemonThatDiesAtAnyChangeOnDiskLosesNoFile(t *testing.T) {
	for _, copies := range []bool{false, true} {
		for n := 0; ; n++ {
			whole := false
			t.Run(fmt.Sprintf("copies %v, change %d", copies, n), func(t *testing.T) {
				old := unix.Umask(0o077)
				defer unix.Umask(old)
				s := newSite(t)
				must(t, os.Chmod(s.dir, 0o755))
				r1 := s.release("r1", "a.1.css=1", "logo.png=old", "deep/er/b.1.js=1")
				r2 := s.release("r2", "a.2.css=2", "logo.png=new", "deep/er/b.2.js=2", "deep/logo.png=deep")
				for _, path := range []string{"r1/static/logo.png", "r2/static/logo.png", "r2/static/a.2.css"} {
					must(t, os.Chmod(s.path(path), map[bool]fs.FileMode{false: 0o644, true: 0o600}[copies]))
				}
				readable(t, s.dir)
				s.refresh(r1)
				whole = s.until(n, func() error {
					if _, err := s.Publish(t.Context(), r2); err != nil {
						return err
					}
					_, err := s.Refresh(t.Context(), r2)
					return err
				})
				if got := content(s.path("public/a.1.css")) + content(s.path("public/deep/er/b.1.js")); got != "11" {
					t.Errorf("the old release's files are %q", got)
				}
				if got := content(s.path("public/logo.png")); got != "old" && got != "new" {
					t.Errorf("logo.png is %q", got)
				}
				s.refresh(r2)
				s.want("a.1.css=1", "a.2.css=2", "logo.png=new", "deep/er/b.1.js=1", "deep/er/b.2.js=2", "deep/logo.png=deep")
				s.refresh(r1) // and back
				s.want("a.1.css=1", "a.2.css=2", "logo.png=old", "deep/er/b.1.js=1", "deep/er/b.2.js=2", "deep/logo.png=deep")
				for path, want := range map[string]string{"r1/static/logo.png": "old", "r2/static/logo.png": "new"} {
					if got := content(s.path(path)); got != want {
						t.Errorf("%s is %q", path, got)
					}
				}
			})
			if whole || t.Failed() {
				break
			}
		}
	}
}

// readable makes what was made with a strict umask readable, except for the files of this test's own.
func readable(t *testing.T, dir string) {
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	}))
}

func TestAFileGoesWhenNoReleaseHasHadItForTheTimeOfKeep(t *testing.T) {
	s := newSite(t)
	r1 := s.release("r1", "a.1.css=1", "deep/er/b.js=1", "logo.png=1")
	r2 := s.release("r2", "a.2.css=2", "logo.png=2")
	s.refresh(r1)
	s.refresh(r2)
	must(t, os.WriteFile(s.path("public/robots.txt"), []byte("own"), 0o644))
	all := []string{"a.1.css=1", "deep/er/b.js=1", "a.2.css=2", "logo.png=2", "robots.txt=own"}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sweep := func(after time.Duration, want int, kept ...Release) {
		t.Helper()
		if n, err := s.Sweep(t.Context(), kept, now.Add(after)); err != nil || n != want {
			t.Errorf("after %s: %d removed, want %d, %v", after, n, want, err)
		}
	}
	sweep(0, 0, r1, r2)
	sweep(time.Minute, 0, r2) // r1 was pruned
	sweep(30*time.Minute, 0, r1, r2)
	sweep(40*time.Minute, 0, r2) // the time begins again
	sweep(99*time.Minute, 0, r2)
	s.want(all...)
	sweep(100*time.Minute, 2, r2)
	s.want("a.2.css=2", "logo.png=2", "robots.txt=own")
	if _, err := os.Stat(s.path("public/deep")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory is there: %v", err)
	}
	sweep(300*time.Minute, 0, r2)
	must(t, os.RemoveAll(s.path("r2/static")))
	must(t, os.Symlink("/usr", s.path("r2/static"))) // its files cannot be listed
	if n, err := s.Sweep(t.Context(), []Release{r2}, now.Add(500*time.Minute)); err == nil || n > 0 {
		t.Errorf("%d removed, %v", n, err)
	}
}

func TestASweepThatDiesAnywhereIsRepeated(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := 0; ; n++ {
		s := newSite(t)
		s.Keep = 0
		s.refresh(s.release("r1", "a.1.css=1", "b/c.css=1"))
		r2 := s.release("r2", "a.2.css=2")
		s.refresh(r2)
		sweep := func() error { _, err := s.Sweep(t.Context(), []Release{r2}, now); return err }
		whole := s.until(n, sweep)
		must(t, sweep())
		s.want("a.2.css=2")
		if whole {
			return
		}
	}
}

func TestADirectoryHasOneApp(t *testing.T) {
	s := newSite(t)
	r := s.release("r1", "a.css=1")
	s.publish(r)
	s.App = "blog"
	for what, err := range map[string]error{
		"publish": second(s.Publish(t.Context(), r)), "refresh": second(s.Refresh(t.Context(), r)), "check": s.Check(),
	} {
		if err == nil || !strings.Contains(err.Error(), "has the files of the app shop") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second(_ Result, err error) error { return err }

func TestAFullDiskLeavesWhatIsPublished(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file system can be mounted by root alone")
	}
	s := newSite(t)
	must(t, os.Mkdir(s.To, 0o755))
	if err := unix.Mount("tmpfs", s.To, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skip(err) // in a container
	}
	defer unix.Unmount(s.To, unix.MNT_DETACH)
	s.refresh(s.release("r1", "a.1.css=1", "logo.png=old")) // copies: another file system
	big := strings.Repeat("x", 300<<10)
	r2 := s.release("r2", "a.2.css=2", "logo.png="+big)
	if _, err := s.Refresh(t.Context(), r2); !errors.Is(err, unix.ENOSPC) ||
		!strings.Contains(err.Error(), "free space, and repeat the command") {
		t.Errorf("error %v", err)
	}
	s.want("a.1.css=1", "a.2.css=2", "logo.png=old")
	must(t, os.WriteFile(s.path("r2/static/logo.png"), []byte("new"), 0o644))
	s.refresh(r2)
	s.want("a.1.css=1", "a.2.css=2", "logo.png=new")
}

func TestAManifestInTheSharedDirectoryIsFound(t *testing.T) {
	dir := t.TempDir()
	if found := SharedManifests(dir); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	must(t, os.Mkdir(filepath.Join(dir, ".vite"), 0o755))
	want := map[string]bool{filepath.Join(dir, "staticfiles.json"): true, filepath.Join(dir, ".vite/manifest.json"): true}
	for path := range want {
		must(t, os.WriteFile(path, nil, 0o644))
	}
	found := make(map[string]bool)
	for _, path := range SharedManifests(dir) {
		found[path] = true
	}
	if !maps.Equal(found, want) {
		t.Errorf("found %v", found)
	}
}

func TestAnUnreadableRecordIsNamed(t *testing.T) {
	s := newSite(t)
	r := s.release("r1", "a.css=1")
	s.publish(r)
	must(t, os.WriteFile(s.path("state/assets/published.json"), []byte("{"), 0o600))
	if _, err := s.Publish(t.Context(), r); err == nil ||
		!strings.Contains(err.Error(), s.path("state/assets/published.json")+": unexpected end of JSON input: remove it") {
		t.Errorf("error %v", err)
	}
}
