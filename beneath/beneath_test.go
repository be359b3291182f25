package beneath

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// victim creates a file that links lead to. The test fails if the file is changed.
func victim(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(path, []byte("root's"), 0o600))
	t.Cleanup(func() {
		text, err := os.ReadFile(path)
		st, bad := os.Stat(path)
		if err != nil || bad != nil || string(text) != "root's" || st.Mode().Perm() != 0o600 {
			t.Errorf("the victim was changed: %q, %v, %v", text, st, errors.Join(err, bad))
		}
	})
	return path
}

func TestNoMethodFollowsALink(t *testing.T) {
	file := victim(t)
	dir := filepath.Dir(file)
	d := open(t, t.TempDir())
	must(t, os.Symlink(file, filepath.Join(d.Path(), "file")))
	must(t, os.Symlink(dir, filepath.Join(d.Path(), "dir")))
	for name, do := range map[string]func() error{
		"Open":          func() error { _, err := d.Open("file"); return err },
		"OpenPath":      func() error { _, err := d.OpenPath("dir/victim"); return err },
		"ReadFile":      func() error { _, err := d.ReadFile("dir/victim", 100); return err },
		"Sub":           func() error { _, err := d.Sub("dir"); return err },
		"OpenOrMkdir":   func() error { _, err := d.OpenOrMkdir("dir"); return err },
		"SubPath":       func() error { _, err := d.SubPath("dir"); return err },
		"OpenWritable":  func() error { _, err := d.OpenWritable("file", 0o644); return err },
		"Mkdir":         func() error { _, err := d.Mkdir("dir", 0o755); return err },
		"RenameNew":     func() error { return d.RenameNew("file", "dir") },
		"a path":        func() error { _, err := d.Open("../" + filepath.Base(d.Path()) + "/file"); return err },
		"..":            func() error { _, err := d.Sub(".."); return err },
		"an empty name": func() error { return d.Remove("") },
	} {
		if err := do(); err == nil {
			t.Errorf("%s followed it", name)
		}
	}
	must(t, d.Replace("file", []byte("new"), 0o644))
	must(t, d.RemoveAll(t.Context(), "dir"))
	if text, err := d.ReadFile("file", 100); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAHardLinkOrAForeignFileIsNotWrittenTo(t *testing.T) {
	d := open(t, t.TempDir())
	must(t, os.WriteFile(filepath.Join(d.Path(), "one"), nil, 0o644))
	must(t, os.Link(filepath.Join(d.Path(), "one"), filepath.Join(d.Path(), "two")))
	if _, err := d.OpenWritable("two", 0o644); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can change the owner of a file")
	}
	must(t, os.WriteFile(filepath.Join(d.Path(), "other"), nil, 0o644))
	must(t, os.Chown(filepath.Join(d.Path(), "other"), 33, 33))
	_, err := d.OpenWritable("other", 0o644)
	if err == nil || !strings.Contains(err.Error(), "belongs to user 33") {
		t.Error(err)
	}
}

func TestNewFilesBelongToTheOwnerOfTheDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can create files for other users")
	}
	defer unix.Umask(unix.Umask(0o077))
	d := open(t, t.TempDir())
	must(t, os.Chown(d.Path(), 33, 33))
	must(t, os.Chmod(d.Path(), 0o775))
	sub, err := d.OpenOrMkdir("sub")
	must(t, err)
	defer sub.Close()
	f, err := sub.OpenWritable("lock", 0o644)
	must(t, err)
	must(t, f.Close())
	must(t, sub.Replace("pin", []byte("x"), 0o644))
	for name, mode := range map[string]uint32{"sub": 0o775, "sub/lock": 0o644, "sub/pin": 0o644} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(d.Path(), name), &st))
		if st.Uid != 33 || st.Gid != 33 || st.Mode&0o777 != mode {
			t.Errorf("%s: %d:%d %o", name, st.Uid, st.Gid, st.Mode)
		}
	}
	left, err := sub.ReadDir()
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestRootFollowsALinkOnlyToItsOwnersFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the rule only applies to root")
	}
	top := t.TempDir()
	for name, uid := range map[string]int{"mine": 33, "roots": 0, "theirs": 34} {
		must(t, os.Mkdir(filepath.Join(top, name), 0o755))
		must(t, os.Chown(filepath.Join(top, name), uid, uid))
	}
	link := func(name, to string, uid int) string {
		path := filepath.Join(top, name)
		must(t, os.Symlink(to, path))
		must(t, os.Lchown(path, uid, uid))
		return path
	}
	for path, right := range map[string]bool{
		link("a", filepath.Join(top, "mine"), 33): true,
		link("b", "theirs", 0):                    true,
		link("c", "./mine/../roots", 0):           true,
		link("d", "roots", 33):                    false,
		link("e", "theirs", 33):                   false,
		link("f", "g", 33):                        false,
		link("g", "mine", 34):                     false,
		link("h", "h", 0):                         false,
	} {
		d, err := Open(path)
		if (err == nil) != right {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			must(t, d.Close())
		}
	}
}

func TestOnlyARegularFileIsOpened(t *testing.T) {
	d := open(t, t.TempDir())
	must(t, unix.Mkfifo(filepath.Join(d.Path(), "fifo"), 0o644))
	must(t, os.Mkdir(filepath.Join(d.Path(), "dir"), 0o755))
	for _, name := range []string{"fifo", "dir"} {
		if _, err := d.Open(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := OpenFile(filepath.Join(d.Path(), name)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s by its path: %v", name, err)
		}
	}
	must(t, d.Replace("file", []byte("text"), 0o644))
	f, err := OpenFile(filepath.Join(d.Path(), "file"))
	must(t, err)
	must(t, f.Close())
	if _, err := d.ReadFile("file", 3); err == nil {
		t.Error("a file that is longer than the limit was read")
	}
}

func TestAReadOnlyTreeIsRemoved(t *testing.T) {
	file := victim(t)
	d := open(t, t.TempDir())
	deep := filepath.Join(d.Path(), "r1", "a", "b")
	must(t, os.MkdirAll(deep, 0o755))
	must(t, os.WriteFile(filepath.Join(deep, "c"), nil, 0o400))
	must(t, os.Symlink(filepath.Dir(file), filepath.Join(deep, "link")))
	for _, dir := range []string{deep, filepath.Dir(deep), filepath.Join(d.Path(), "r1")} {
		must(t, os.Chmod(dir, 0o500))
	}
	must(t, d.RemoveAll(t.Context(), "r1"))
	must(t, d.RemoveAll(t.Context(), "r1"))
	if _, err := d.Lstat("r1"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestARemovalStaysInItsTree replaces directories of a tree by links while the tree is removed.
func TestARemovalStaysInItsTree(t *testing.T) {
	file := victim(t)
	d := open(t, t.TempDir())
	for range 50 {
		tree := filepath.Join(d.Path(), "tree")
		for _, name := range []string{"a", "b", "c", "d"} {
			must(t, os.MkdirAll(filepath.Join(tree, name, "x", "y"), 0o755))
			must(t, os.WriteFile(filepath.Join(tree, name, "x", "victim"), nil, 0o644))
		}
		ctx, stop := context.WithCancel(t.Context())
		var swapping sync.WaitGroup
		swapping.Go(func() {
			for ctx.Err() == nil {
				for _, name := range []string{"d", "c", "b", "a"} {
					_ = os.Rename(filepath.Join(tree, name, "x"), filepath.Join(tree, name, "old"))
					_ = os.Symlink(filepath.Dir(file), filepath.Join(tree, name, "x"))
				}
			}
		})
		_ = d.RemoveAll(t.Context(), "tree") // it may fail because of the concurrent changes
		stop()
		swapping.Wait()
		must(t, d.RemoveAll(t.Context(), "tree"))
	}
}

func TestATemporaryFileHasNoName(t *testing.T) {
	d := open(t, t.TempDir())
	f, err := d.CreateTemp()
	must(t, err)
	defer f.Close()
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	if entries, err := d.ReadDir(); err != nil || len(entries) > 0 || st.Nlink != 0 || st.Mode&0o777 != 0o600 {
		t.Errorf("%v, %v, %d names, %o", entries, err, st.Nlink, st.Mode)
	}
}
