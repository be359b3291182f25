package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"superctl/beneath"
)

// Point makes the `current` link lead to the release at path, in one step; pointing it where it points changes nothing.
func (s *Store) Point(path string) error {
	if s.Current == "" {
		return nil
	}
	if err := s.Pointable(); err != nil {
		return err
	}
	if to, err := os.Readlink(s.Current); err == nil && to == path {
		return nil
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

// Pointable tells whether the `current` link may be replaced: a directory or a file in its place is somebody's own.
func (s *Store) Pointable() error {
	if s.Current == "" {
		return nil
	}
	st, err := os.Lstat(s.Current)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the current link: %w", err)
	case st.Mode().Type() != fs.ModeSymlink:
		return notALink(s.Current)
	}
	return nil
}
