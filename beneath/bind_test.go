package beneath

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestASocketHasItsModeFromTheStart(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, mode := range []os.FileMode{0o600, 0o660, 0o666} {
		path := filepath.Join(t.TempDir(), "s")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(fd)
		must(t, BindUnix(fd, path, mode))
		st, err := os.Lstat(path)
		must(t, err)
		if st.Mode().Perm() != mode {
			t.Errorf("mode %o, want %o", st.Mode().Perm(), mode)
		}
	}
	if now := unix.Umask(0o077); now != 0o077 {
		t.Errorf("the umask of the process changed to %o", now)
	}
}

func TestOnlyOurOwnSocketIsChowned(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "s")
	must(t, os.WriteFile(victim, nil, 0o600))
	for what, put := range map[string]func() error{
		"a symbolic link": func() error { return os.Symlink(victim, path) },
		"a hard link":     func() error { return os.Link(victim, path) },
		"a directory":     func() error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			must(t, put())
			defer os.Remove(path)
			if ChownSocket(path, os.Getuid(), os.Getgid(), nil) == nil {
				t.Error("its owner was changed")
			}
		})
	}
}
