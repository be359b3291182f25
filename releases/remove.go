package releases

import (
	"errors"
	"io/fs"
	"os"
)

// RemoveTree removes what is at name in root, and all below it. Directories that nobody may write, as those of an installed
// release, are opened first, which only their owner can do.
func RemoveTree(root *os.Root, name string) error {
	err := root.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	sub, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // nothing is written through it
	if err := openDirectories(sub, "."); err != nil {
		return err
	}
	return root.RemoveAll(name)
}

// openDirectories goes from the top down: what is in a directory is seen only when it can be read.
func openDirectories(root *os.Root, dir string) error {
	if err := root.Chmod(dir, 0o700); err != nil {
		return err
	}
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := openDirectories(root, dir+"/"+e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
