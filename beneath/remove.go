package beneath

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// depthLimit bounds the depth of a tree to remove: each level takes an open descriptor.
const depthLimit = 4096

// RemoveAll removes a name and everything below it. A link is removed, never followed; a process
// that renames directories during the removal can only change what is found inside the tree.
// Read-only directories, such as those of an installed release, are made writable first. A missing
// name is not an error.
func (d *Dir) RemoveAll(ctx context.Context, name string) error {
	if err := d.checkName("remove", name); err != nil {
		return err
	}
	return d.removeAll(ctx, name, 0)
}

func (d *Dir) removeAll(ctx context.Context, name string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := unix.Unlinkat(d.fd(), name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM): // a directory: POSIX allows either
	default:
		return d.pathError("remove", name, err)
	}
	if depth > depthLimit {
		return d.pathError("remove", name, fmt.Errorf("more than %d directories deep", depthLimit))
	}
	sub, bad := d.openForRemoval(name)
	switch {
	case errors.Is(bad, fs.ErrNotExist):
		return nil
	case errors.Is(bad, unix.ENOTDIR):
		return d.pathError("remove", name, err) // a file that must not be removed
	case bad != nil:
		return bad
	}
	bad = sub.removeContent(ctx, depth)
	if bad = errors.Join(bad, sub.Close()); bad != nil {
		return bad
	}
	if err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return d.pathError("remove", name, err)
	}
	return nil
}

// openForRemoval opens a directory and makes it writable for its owner.
func (d *Dir) openForRemoval(name string) (*Dir, error) {
	sub, err := d.Sub(name)
	// The owner may lack even the read permission, and can restore it. Changing it by name is safe:
	// root, which can read every directory, never gets here.
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && !d.isLink(name) {
		if err := unix.Fchmodat(d.fd(), name, 0o700, 0); err != nil {
			return nil, d.pathError("chmod", name, err)
		}
		sub, err = d.Sub(name)
	}
	if err != nil {
		return nil, err
	}
	if st, err := sub.Stat(); err == nil && st.Mode&0o300 != 0o300 {
		_ = sub.file.Chmod(0o700) // if this fails, the removal reports the cause
	}
	return sub, nil
}

func (d *Dir) removeContent(ctx context.Context, depth int) error {
	entries, err := d.ReadDir()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if err := d.removeAll(ctx, e.Name(), depth+1); err != nil {
			if errs = append(errs, err); ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}
