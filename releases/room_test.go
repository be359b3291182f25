package releases

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRoomSaysWhyADirectoryTakesNoFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file system can be mounted by root alone")
	}
	for name, c := range map[string]struct {
		flags   uintptr
		options string
		files   int
		bytes   int
		says    string // "" = there is room
	}{
		"room":      {options: "size=1m"},
		"read-only": {flags: unix.MS_RDONLY, options: "size=1m", says: "is mounted read-only"},
		"full":      {options: "size=128k", bytes: 128 << 10, says: "is full: 0 KB are free, 64 KB are needed"},
		"no inodes": {options: "size=1m,nr_inodes=20", files: 10, says: "inodes left"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", c.flags, c.options); err != nil {
				t.Skip(err) // in a container
			}
			defer unix.Unmount(dir, unix.MNT_DETACH)
			if c.bytes > 0 {
				_ = os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, c.bytes), 0o600) // as much as fits
			}
			for i := range c.files {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := Room(dir, 64<<10)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}
