package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"superctl/beneath"
)

// Point makes the `current` link lead to the release at path, atomically. If it already does,
// nothing changes.
func (s *Store) Point(path string) error {
	if s.Current == "" {
		return nil
	}
	if err := s.Pointable(); err != nil {
		return err
	}
	if to, err := os.Readlink(s.Current); err == nil && (to == path || filepath.Join(filepath.Dir(s.Current), to) == path) {
		return nil // also a relative link: the directory may be read-only, as in a container
	}
	dir, err := beneath.Open(filepath.Dir(s.Current))
	if err == nil {
		err = errors.Join(dir.Symlink(path, filepath.Base(s.Current)), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("point %s to the release: %w", s.Current, err)
	}
	return nil
}

// Pointable returns why the `current` link must not be replaced: a file or a directory in its place
// belongs to the operator.
func (s *Store) Pointable() error {
	if s.Current == "" {
		return nil
	}
	st, err := os.Lstat(s.Current)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("check the current link: %w", err)
	case st.Mode().Type() != fs.ModeSymlink:
		return notALink(s.Current)
	}
	return nil
}
