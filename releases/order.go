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
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// order is the record of when each release was first seen. The times of a directory cannot say that: a shared
// link, a `touch` or a file that lands at its top moves them. Only the daemon writes the record, in its own state
// directory; where it cannot be read, or there is none yet, a release came when its directory was made.
type order struct {
	Looked   time.Time           `json:"looked"` // when the releases were last recorded
	Releases map[string]firstSee `json:"releases"`
}

// firstSee is when a directory was first seen. One of the same name that is another directory is another release.
type firstSee struct {
	Directory string    `json:"directory"`
	At        time.Time `json:"at"`
}

// orderLimit bounds what is read of a record.
const orderLimit = 16 << 20

// readOrder reads the record; one that is not there, or cannot be read, is empty: the order of the releases must
// not keep a site down.
func (s *Store) readOrder() order {
	var o order
	if s.Order == "" {
		return o
	}
	f, err := openRegular(s.Order)
	if err != nil {
		return o
	}
	defer f.Close() //nolint:errcheck // for reading only
	text, err := io.ReadAll(io.LimitReader(f, orderLimit+1))
	if err != nil || len(text) > orderLimit || json.Unmarshal(text, &o) != nil {
		return order{}
	}
	return o
}

// Record notes the releases that are seen for the first time. What came since the last look is newer than all that
// was there then.
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
		if s.isCurrent(path) {
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
	if err := renameio.WriteFile(s.Order, text, 0o644); err != nil { //nolint:gosec // it says when directories came, which everybody can see
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

// see is when a directory was first seen.
func (o order) see(name, path string) firstSee {
	directory, at := born(path)
	if known, ok := o.Releases[name]; ok && known.Directory == directory {
		return known
	}
	if at.Before(o.Looked) {
		at = o.Looked // it was moved or copied here with its old times
	}
	return firstSee{directory, at}
}

// born is what identifies a directory, and when it was made: the earlier of its birth and its last change, because
// a copy may keep the times of its original. Not every file system tells the birth (statx(2)).
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

// Moved returns where the `current` link leads, when that is not the release at path; "" when all is well or no
// link is kept.
func (s *Store) Moved(path string) string {
	if s.Current == "" || path == "" {
		return ""
	}
	to, err := os.Readlink(s.Current)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nothing: it is not there"
	case err != nil:
		return "" // no link, which is told elsewhere
	}
	if at, err := filepath.EvalSymlinks(s.Current); err == nil && (at == path || sameFile(at, path)) {
		return ""
	}
	return to
}
