package bundle

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Unpack reads a bundle, and writes its project to root and its wheels to the directory wheels in
// root. Neither may exist yet; nothing outside root is ever written. manifest, if not nil, may
// refuse the bundle before anything is written. done, if not nil, gets the size of each member
// written. After an error the files must not be used.
func Unpack(
	r io.Reader, root *os.Root, wheels string, manifest func(*Manifest) error, done func(bytes int64),
) (*Manifest, error) {
	u := &unpacker{root: root, wheels: wheels, made: map[string]bool{".": true}}
	return Read(r, Visitor{
		Manifest: func(m *Manifest) error {
			u.m = m
			if manifest == nil {
				return nil
			}
			return manifest(m)
		},
		Member: func(e Member, content io.Reader) error {
			if err := u.member(e, content); err != nil {
				return fmt.Errorf("unpack %s: %w", e.Path, err)
			}
			if done != nil {
				done(e.Size)
			}
			return nil
		},
	})
}

type unpacker struct {
	root   *os.Root
	wheels string
	m      *Manifest
	made   map[string]bool // directories
}

func (u *unpacker) member(e Member, content io.Reader) error {
	name := u.place(e.Path)
	if err := u.directory(path.Dir(name)); err != nil {
		return err
	}
	if e.Link != "" {
		return u.root.Symlink(e.Link, name)
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(e.Mode))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(fs.FileMode(e.Mode)) // independent of the umask
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return u.root.Chtimes(name, u.m.Time(), u.m.Time())
}

func (u *unpacker) place(p string) string {
	top, rest, _ := strings.Cut(p, "/")
	if top == Wheels {
		return path.Join(u.wheels, rest)
	}
	return rest
}

func (u *unpacker) directory(name string) error {
	if u.made[name] {
		return nil
	}
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	u.made[name] = true
	return nil
}
