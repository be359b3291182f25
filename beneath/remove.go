package beneath

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// depthLimit is how many directories lie below one another in a tree that is removed, each with an open descriptor.
const depthLimit = 4096

// RemoveAll removes what name is, and all below it. A link is removed, never followed, and whoever renames directories
// meanwhile only changes what is found in the tree. Directories that nobody may write, as those of an installed release, are
// made writable first. What is missing is no error.
func (d *Dir) RemoveAll(ctx context.Context, name string) error {
	if err := d.check("remove", name); err != nil {
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
	case errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM): // POSIX allows either for a directory
	default:
		return d.fail("remove", name, err)
	}
	if depth > depthLimit {
		return d.fail("remove", name, fmt.Errorf("more than %d directories deep", depthLimit))
	}
	sub, bad := d.openForRemoval(name)
	switch {
	case errors.Is(bad, fs.ErrNotExist):
		return nil
	case errors.Is(bad, unix.ENOTDIR):
		return d.fail("remove", name, err) // a file that must not be removed
	case bad != nil:
		return bad
	}
	bad = sub.removeContent(ctx, depth)
	if bad = errors.Join(bad, sub.Close()); bad != nil {
		return bad
	}
	if err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return d.fail("remove", name, err)
	}
	return nil
}

// openForRemoval opens a directory, and lets its owner remove what is in it.
func (d *Dir) openForRemoval(name string) (*Dir, error) {
	sub, err := d.Sub(name)
	// It may not even be read, which its owner can change. By name: nothing that is root's is at stake, which could read it.
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && !d.isLink(name) {
		if err := unix.Fchmodat(d.fd(), name, 0o700, 0); err != nil {
			return nil, d.fail("chmod", name, err)
		}
		sub, err = d.Sub(name)
	}
	if err != nil {
		return nil, err
	}
	if st, err := sub.Stat(); err == nil && st.Mode&0o300 != 0o300 {
		_ = sub.file.Chmod(0o700) // whoever may not do this meets the error of the removal, which says more
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
