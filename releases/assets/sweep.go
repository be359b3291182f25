package assets

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Sweep removes the published files that no release has had for the time of Keep. kept are all
// releases that exist; if the files of one cannot be listed, nothing is removed.
func (s *Set) Sweep(ctx context.Context, kept []Release, now time.Time) (removed int, err error) {
	t, err := s.openTarget()
	if err != nil {
		return 0, err
	}
	defer t.close()
	used := make(map[string]bool)
	for _, r := range kept {
		if err := s.use(ctx, r, used); err != nil {
			return 0, err
		}
	}
	removed, changed, err := t.sweep(ctx, used, now)
	if changed {
		err = errors.Join(err, t.record.write())
	}
	if err != nil {
		return removed, s.failed(err)
	}
	return removed, nil
}

// sweep removes files, and notes in the record since when no release has the others.
func (t *target) sweep(ctx context.Context, used map[string]bool, now time.Time) (removed int, changed bool, err error) {
	known, keep := t.record.files(), t.set.Keep
	for name, since := range known {
		switch {
		case ctx.Err() != nil:
			return removed, changed, context.Cause(ctx)
		case used[name] && !since.IsZero():
			known[name], changed = time.Time{}, true
		case used[name]:
		case since.IsZero() && keep > 0:
			known[name], changed = now, true
		case now.Sub(since) >= keep:
			if err := t.remove(name); err != nil {
				return removed, changed, err
			}
			delete(known, name)
			removed, changed = removed+1, true
		}
	}
	return removed, changed, nil
}

// use adds the paths of the files of a release.
func (s *Set) use(ctx context.Context, r Release, used map[string]bool) error {
	src, err := s.openSource(r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was pruned just now
	}
	if err != nil {
		return err
	}
	defer src.close()
	err = src.check()
	if missing := new(MissingError); errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	return src.walk(ctx, func(_, below string) error {
		used[below] = true
		return nil
	})
}

// remove removes a published file, and the directories that it leaves empty.
func (t *target) remove(name string) error {
	dir, base := path.Split(name)
	at, err := t.root.SubPath(path.Clean(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	t.set.fault("remove a file")
	err = errors.Join(removeStaging(at), removeFile(at, base), at.Close())
	if err != nil {
		return err
	}
	for dir = path.Clean(dir); dir != "."; dir = path.Dir(dir) {
		if gone, err := t.removeEmpty(dir); err != nil || !gone {
			return err
		}
	}
	return nil
}

// removeEmpty removes a directory, and reports whether it is gone: one with files stays.
func (t *target) removeEmpty(dir string) (gone bool, err error) {
	above, err := t.root.SubPath(path.Dir(dir))
	if err != nil {
		return false, err
	}
	defer above.Close()
	switch err := above.Rmdir(path.Base(dir)); {
	case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist):
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	default:
		return err == nil, err
	}
}

func removeFile(d *beneath.Dir, name string) error {
	if err := d.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
