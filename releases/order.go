package releases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// order records when each release was first seen. A directory's own times do not tell: a shared
// link, a `touch` or a file created at its top changes them. Only the daemon writes the record, in
// its state directory. Without a readable record, a release's age is that of its directory.
type order struct {
	Looked   time.Time           `json:"looked"` // when the record was last updated
	Releases map[string]firstSee `json:"releases"`
}

// firstSee is when a directory was first seen. A different directory with the same name is another
// release.
type firstSee struct {
	Directory string    `json:"directory"`
	At        time.Time `json:"at"`
}

// orderLimit bounds the size of the record.
const orderLimit = 16 << 20

// readOrder returns the record, or an empty one if it is missing or cannot be read: a failure here
// must not take the site down.
func (s *Store) readOrder() order {
	var o order
	if s.Order == "" {
		return o
	}
	f, err := openRegular(s.Order)
	if err != nil {
		return o
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, orderLimit+1))
	if err != nil || len(text) > orderLimit || json.Unmarshal(text, &o) != nil {
		return order{}
	}
	return o
}

// Record adds the releases that are new since the last call. They count as newer than all earlier
// ones.
func (s *Store) Record() error {
	if s.Order == "" {
		return nil
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	old := s.readOrder()
	now := order{Looked: time.Now(), Releases: make(map[string]firstSee)}
	for _, e := range entries {
		path := filepath.Join(s.Dir, e.Name())
		if s.isCurrent(path) || s.alias(e.Name()) != "" {
			continue
		}
		if target, err := filepath.EvalSymlinks(path); err == nil {
			now.Releases[e.Name()] = old.see(e.Name(), target)
		}
	}
	if maps.Equal(old.Releases, now.Releases) && old.Looked.After(newest(old.Releases)) {
		return nil
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	// it contains only names and times of directories that every user can see
	dir, err := beneath.Open(filepath.Dir(s.Order))
	if err != nil {
		return fmt.Errorf("record the order of the releases: %w", err)
	}
	defer dir.Close()
	if err := dir.Replace(filepath.Base(s.Order), text, 0o644); err != nil {
		return fmt.Errorf("record the order of the releases: %w", err)
	}
	return nil
}

func newest(releases map[string]firstSee) (at time.Time) {
	for _, r := range releases {
		if r.At.After(at) {
			at = r.At
		}
	}
	return at
}

// see returns when a directory was first seen.
func (o order) see(name, path string) firstSee {
	directory, at := born(path)
	if known, ok := o.Releases[name]; ok && known.Directory == directory {
		return known
	}
	if known, ok := o.renamed(directory); ok {
		return known
	}
	if at.Before(o.Looked) {
		at = o.Looked // it was moved here or copied with its old times
	}
	// The clock was ahead when another release was seen.
	if last := newest(o.Releases); !at.After(last) {
		at = last.Add(1 + max(0, at.Sub(o.Looked)))
	}
	return firstSee{directory, at}
}

// renamed returns what is known of a directory that had another name before. One that was in progress
// under its old name is a new release. The time of birth tells a directory from another one that has
// got its number.
func (o order) renamed(directory string) (firstSee, bool) {
	for name, known := range o.Releases {
		if known.Directory == directory && strings.Count(directory, ":") == 3 {
			return known, endOf(name, inProgress) == ""
		}
	}
	return firstSee{}, false
}

// born returns what identifies a directory, and its age: the earlier of its birth and its last
// change, because a copy may keep the times of its original. Not every file system records the
// birth (statx(2)).
func born(path string) (directory string, at time.Time) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME|unix.STATX_MTIME|unix.STATX_INO, &st); err != nil {
		return "", time.Time{}
	}
	at = time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec))
	if st.Mask&unix.STATX_BTIME == 0 {
		return fmt.Sprintf("%d:%d:%d", st.Dev_major, st.Dev_minor, st.Ino), at
	}
	birth := time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
	if birth.Before(at) {
		at = birth
	}
	return fmt.Sprintf("%d:%d:%d:%d", st.Dev_major, st.Dev_minor, st.Ino, birth.UnixNano()), at
}

// Identity tells a directory from another one that takes its place, also if that has the number of
// the removed one. It is "" where the file system cannot tell (statx(2)): without a time of birth,
// and on overlayfs, which changes that time when it copies a directory.
func Identity(path string) string {
	var st unix.Statx_t
	var system unix.Statfs_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME|unix.STATX_INO, &st) != nil || st.Mask&unix.STATX_BTIME == 0 ||
		unix.Statfs(path, &system) != nil || system.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return ""
	}
	return fmt.Sprintf("%d:%d.%09d", st.Ino, st.Btime.Sec, st.Btime.Nsec)
}

// Moved returns the target of the `current` link if it is not the release at path. It returns "" if
// it is, or if no link is configured.
func (s *Store) Moved(path string) string {
	if s.Current == "" || path == "" {
		return ""
	}
	to, err := os.Readlink(s.Current)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nothing: it does not exist"
	case err != nil:
		return "" // not a link, which is reported elsewhere
	}
	if at, err := filepath.EvalSymlinks(s.Current); err == nil && (at == path || sameFile(at, path)) {
		return ""
	}
	if s.leadsTo(to, path) {
		return "" // the release is gone, and the link was left alone
	}
	return to
}

// leadsTo reports whether the target of the `current` link is path, which need not exist.
func (s *Store) leadsTo(to, path string) bool {
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(s.Current), to)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(to))
	return err == nil && filepath.Join(dir, filepath.Base(to)) == path
}
