package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/rogpeppe/go-internal/diff"
)

// File is a file of nginx's configuration.
type File struct {
	Path     string // without links
	Old, New string
}

// Changed reports whether the file is to be changed.
func (f *File) Changed() bool { return f.Old != f.New }

// Diff returns how the file changes, as a unified diff.
func (f *File) Diff() string {
	text := string(diff.Diff(f.Path, []byte(f.Old), f.Path, []byte(f.New)))
	_, text, _ = strings.Cut(text, "\n") // the line "diff OLD NEW"
	return text
}

// Check returns an error if another user than root could exchange the file or a directory above it.
func (f *File) Check() error {
	for path := f.Path; ; path = filepath.Dir(path) {
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok || sys.Uid != 0 || st.Mode()&fs.ModeSymlink != 0 || st.Mode().Perm()&0o022 != 0 {
			return fmt.Errorf("%s can be changed by other users than root", path)
		}
		if path == "/" {
			return nil
		}
	}
}

// Keep copies the file into a directory, under its whole path.
func (f *File) Keep(dir string) error {
	at := filepath.Join(dir, f.Path)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(at, []byte(f.Old), 0o600)
}

// Kept returns the text that Keep copied; ok is false if there is none.
func (f *File) Kept(dir string) (text string, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, f.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return string(data), err == nil, err
}

// Write writes the new text, if the file still has the old one.
func (f *File) Write() error {
	present, err := os.ReadFile(f.Path)
	switch {
	case err != nil:
		return err
	case string(present) == f.New:
		return nil
	case string(present) != f.Old:
		return fmt.Errorf("%s was changed meanwhile", f.Path)
	}
	return f.replace(f.New)
}

// Restore writes a text of before, unless the file does not have the new one: it was not written, or
// a person has edited it.
func (f *File) Restore(before string) error {
	present, err := os.ReadFile(f.Path)
	if err != nil || string(present) != f.New {
		return err
	}
	return f.replace(before)
}

// replace replaces the text of the file in one step. Its mode and owner stay.
func (f *File) replace(text string) error {
	st, err := os.Stat(f.Path)
	if err != nil {
		return err
	}
	pending, err := renameio.NewPendingFile(f.Path, renameio.WithExistingPermissions())
	if err != nil {
		return err
	}
	defer pending.Cleanup()
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if err := pending.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if _, err := pending.WriteString(text); err != nil {
		return err
	}
	return pending.CloseAtomicallyReplace()
}
