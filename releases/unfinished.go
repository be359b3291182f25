package releases

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Incomplete is the marker of a release that is still being copied, and therefore cannot be
// switched to.
const Incomplete = ".incomplete"

// markers are files and directories that a tool keeps at the top of a release while it works on it.
// A sure one never exists in a complete release; the others may be leftovers, and only keep the
// release from being the latest.
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

// The ends of names by which people and tools mark a directory that is not a release yet, and one that
// is put aside. They begin with a dot, because names of branches end in -old or -tmp.
//
//nolint:gochecknoglobals // tables
var (
	inProgress = []string{".partial", ".part", ".incomplete", ".unfinished", ".uploading", ".tmp", ".temp"}
	putAside   = []string{".bak", ".old", ".orig", "~"}
)

// endOf returns the one of the ends that a name has, or "".
func endOf(name string, ends []string) string {
	i := slices.IndexFunc(ends, func(end string) bool { return strings.HasSuffix(strings.ToLower(name), end) })
	if i < 0 {
		return ""
	}
	return ends[i]
}

// passing returns why the name of a directory says that it is not the latest release, or nil.
func passing(name string) error {
	if end := endOf(name, inProgress); end != "" {
		return fmt.Errorf("it may be incomplete: its name ends in %s; rename it when it is complete", end)
	}
	if end := endOf(name, putAside); end != "" {
		return fmt.Errorf("it seems to be put aside: its name ends in %s", end)
	}
	return nil
}

// unfinished returns the marker by which a release is incomplete, or nil.
func (s *Store) unfinished(path string) (sure bool, why error) {
	_, sure, why = s.marker(path)
	return sure, why
}

// marker returns the path of what says that a release is incomplete, and what it says; "" for none.
func (s *Store) marker(path string) (at string, sure bool, why error) {
	for _, m := range markers {
		at := filepath.Join(path, m.name)
		if _, err := os.Lstat(at); err == nil {
			says := "it may be incomplete"
			if m.sure {
				says = "it is not complete"
			}
			return at, m.sure, fmt.Errorf("%s: the marker %s is there (%s); remove it when the release is complete", says, at, m.tool)
		}
	}
	// Deployer points this link to the release in progress, and removes it when the release is
	// live.
	link := filepath.Join(filepath.Dir(s.Dir), "release")
	if st, err := os.Lstat(link); err == nil && st.Mode().Type() == fs.ModeSymlink && sameFile(link, path) {
		return link, false, fmt.Errorf("it may be incomplete: the link %s of Deployer leads to it", link)
	}
	if why := passing(filepath.Base(path)); why != nil {
		return path, false, why
	}
	return "", false, nil
}

const (
	quietTime = 10 * time.Second       // a release unchanged for so long counts as complete at once
	copyPause = 500 * time.Millisecond // between two checks of another; a copy creates a file every few milliseconds
	mostFiles = 200_000                // checked per release
)

// shape is the state of a directory that a copy in progress changes.
type shape struct {
	files  int
	bytes  int64
	newest time.Time // newest ctime of all inodes, which no copy can preserve
}

// beingCopied reports whether a release is changing.
func (s *Store) beingCopied(path string) bool { return len(s.changing([]string{path})) > 0 }

// changing returns those of the releases that are changing. The kernel has no event for the end of
// a copy, so releases that changed a moment ago are checked twice, all with one pause.
func (s *Store) changing(paths []string) (list []string) {
	before := make(map[string]shape)
	for _, path := range paths {
		if at := shapeOf(path); time.Since(at.newest) <= quietTime {
			before[path] = at
		}
	}
	if len(before) == 0 {
		return nil
	}
	pause := s.pause
	if pause == nil {
		pause = func(d time.Duration) { <-time.After(d) }
	}
	pause(copyPause)
	for _, path := range paths {
		if at, recent := before[path]; recent && shapeOf(path) != at {
			list = append(list, path)
		}
	}
	return list
}

func shapeOf(path string) (s shape) {
	_ = filepath.WalkDir(path, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // unreadable files do not count
		}
		if s.files++; s.files > mostFiles {
			return fs.SkipAll
		}
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return nil //nolint:nilerr // unreadable files do not count
		}
		s.bytes += st.Size
		if changed := time.Unix(st.Ctim.Unix()); changed.After(s.newest) {
			s.newest = changed
		}
		return nil
	})
	return s
}

// latest returns the newest complete release of a list. A release that is or was live counts as
// complete, even if it writes into its directory.
func (s *Store) latest(list []Release, refs Refs) (Release, error) {
	var skipped []string
	for _, r := range list {
		switch {
		case r.Unfinished != nil:
			skipped = append(skipped, fmt.Sprintf("release %s: %v", r.Name, r.Unfinished))
		case r.Name != refs.Live && r.Name != refs.Previous && r.Broken == nil && s.beingCopied(r.Path):
			skipped = append(skipped, fmt.Sprintf("release %s: it is still being copied", r.Name))
		default:
			r.Skipped = skipped
			return r, nil
		}
	}
	return Release{}, fmt.Errorf("there is no complete release in %s: %s", s.Dir, strings.Join(skipped, "\n"))
}
