package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Incomplete is the marker that keeps a release which is still being copied out of every switch.
const Incomplete = ".incomplete"

// markers are files and directories at the top of a release that a tool leaves there while it works on it. One
// that is sure is never in a complete release; the others may be left over, and only keep the release from being
// the latest.
var markers = []struct { //nolint:gochecknoglobals // a table
	name, tool string
	sure       bool
}{
	{Incomplete, "of superctl or of what copies the release", true},
	{"DEPLOY_UNFINISHED", "of Ansible's deploy_helper", true},
	{".~tmp~", "of rsync --delay-updates", true},
	{".rsync-partial", "of rsync --partial-dir", false},
	{".rsync-tmp", "of rsync --partial-dir", false},
	{".git/index.lock", "of git", false},
	{".git/shallow.lock", "of git", false},
	{".svn/wc.lock", "of svn", false},
	{".unfinished", "of a deployment script", false},
	{".deploying", "of a deployment script", false},
}

// unfinished says by which marker a release is not complete yet, or nil.
func (s *Store) unfinished(path string) (sure bool, why error) {
	for _, m := range markers {
		at := filepath.Join(path, m.name)
		if _, err := os.Lstat(at); err == nil {
			return m.sure, fmt.Errorf("it is not complete: the marker %s is there (%s); remove it when the release is complete", at, m.tool)
		}
	}
	// Deployer leads this link to the release that it is making, and removes it when that is live.
	link := filepath.Join(filepath.Dir(s.Dir), "release")
	if st, err := os.Lstat(link); err == nil && st.Mode().Type() == fs.ModeSymlink && sameFile(link, path) {
		return false, fmt.Errorf("it is not complete: the link %s of Deployer leads to it", link)
	}
	return false, nil
}

const (
	quietTime = 10 * time.Second       // in which nothing of a release has changed that counts as complete at once
	copyPause = 500 * time.Millisecond // between two looks at one that has; a copy makes a file every few milliseconds
	mostFiles = 200_000                // that are looked at
)

// shape is what a copy in progress changes.
type shape struct {
	files  int
	bytes  int64
	newest time.Time // of the changes of all inodes, which no copy can preserve (ctime)
}

// beingCopied reports whether a release changes right now. The kernel has no event for the end of a copy, so that
// one which has changed a moment ago is looked at twice.
func (s *Store) beingCopied(path string) bool {
	before := shapeOf(path)
	if time.Since(before.newest) > quietTime {
		return false
	}
	pause := s.pause
	if pause == nil {
		pause = func(d time.Duration) { <-time.After(d) }
	}
	pause(copyPause)
	return shapeOf(path) != before
}

func shapeOf(path string) (s shape) {
	_ = filepath.WalkDir(path, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be seen does not count
		}
		if s.files++; s.files > mostFiles {
			return fs.SkipAll
		}
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return nil //nolint:nilerr // likewise
		}
		s.bytes += st.Size
		if changed := time.Unix(st.Ctim.Unix()); changed.After(s.newest) {
			s.newest = changed
		}
		return nil
	})
	return s
}

// latest is the newest release of a list that is complete. One that is or was live is, whatever it writes into its
// directory.
func (s *Store) latest(list []Release, refs Refs) (Release, error) {
	var skipped error
	for _, r := range list {
		switch {
		case r.Unfinished != nil:
			skipped = errors.Join(skipped, fmt.Errorf("release %s: %w", r.Name, r.Unfinished))
		case r.Name != refs.Live && r.Name != refs.Previous && r.Broken == nil && s.beingCopied(r.Path):
			skipped = errors.Join(skipped, fmt.Errorf("release %s: it is still being copied", r.Name))
		default:
			return r, nil
		}
	}
	return Release{}, fmt.Errorf("there is no complete release in %s: %w", s.Dir, skipped)
}
