package supervisor

import (
	"os"
	"path/filepath"
	"testing"
)

// The numbers of users that nobody has.
const (
	appUser  = 61234
	thirdOne = 61235
)

func TestTheDaemonsUserIsTheOwnerOfItsStateDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make directories of other users")
	}
	// Not t.TempDir: a directory that others may write in proves nothing, and /tmp is sticky.
	base, err := os.MkdirTemp("", "owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	dir := func(path string, uid int, mode os.FileMode) string {
		t.Helper()
		full := filepath.Join(base, path)
		for _, err := range []error{os.MkdirAll(full, 0o755), os.Chown(full, uid, uid), os.Chmod(full, mode)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return full
	}
	link := func(path, to string, uid int) string {
		t.Helper()
		full := filepath.Join(base, path)
		for _, err := range []error{os.Symlink(to, full), os.Lchown(full, uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return full
	}
	root, app := dir("root", 0, 0o750), dir("app", appUser, 0o750)
	stateOfRoot := filepath.Join(app, "state.json")
	if err := os.Symlink("/etc/passwd", stateOfRoot); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir    string
		want   uint32
		absent bool
		fails  bool
	}{
		"root's":                           {dir: root, want: 0},
		"the app's, with a link of root's": {dir: app, want: appUser},
		"root's below the app's":           {dir: dir("app/inner", 0, 0o755), want: appUser},
		"a link of root's":                 {dir: link("to-app", "app", 0), want: appUser},
		"a link of the app's to root's":    {dir: link("to-root", root, appUser), want: appUser},
		"a link of another's to the app's": {dir: link("third", app, thirdOne), want: thirdOne},
		"not there":                        {dir: filepath.Join(base, "nothing", "state"), absent: true},
		"below one that all may write in":  {dir: filepath.Join(dir("open", 0, 0o777), "state"), fails: true},
		"below one that a group writes in": {
			dir: filepath.Join(grouped(t, dir("group", 0, 0o775)), "state"), fails: true,
		},
		"a link that leads to itself": {dir: link("loop", "loop", 0), fails: true},
	} {
		uid, ok, err := StateOwner(c.dir)
		if uid != c.want || ok == (c.absent || c.fails) || (err != nil) != c.fails {
			t.Errorf("%s: StateOwner = %d, %t, %v", name, uid, ok, err)
		}
	}
}

// grouped gives a directory to a group.
func grouped(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Chown(dir, 0, appUser); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o775); err != nil {
		t.Fatal(err)
	}
	return dir
}
