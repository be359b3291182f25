package assets

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

const (
	recordDir  = "assets" // in the state directory
	recordFile = "published.json"
	recordMode = 0o600
	recordSize = 256 << 20 // bytes that are read: a million names
)

// record is what has been published. Its directory is locked while it is open: in an upgrade two
// daemons run.
type record struct {
	dir *beneath.Dir
	// By directory and path in it: since when no release has the file; zero = one has it.
	gone map[string]map[string]time.Time
	set  *Set
}

func (s *Set) openRecord() (*record, error) {
	state, err := beneath.Open(s.State)
	if err != nil {
		return nil, fmt.Errorf("assets.%s: %w", s.Name, err)
	}
	defer state.Close()
	s.fault("make the directory of the record")
	dir, err := state.OpenOrMkdir(recordDir)
	if err == nil {
		err = dir.Flock(unix.LOCK_EX)
	}
	if err != nil {
		return nil, s.failed(err)
	}
	rec := &record{dir: dir, set: s}
	if err := rec.read(); err != nil {
		rec.close()
		return nil, err
	}
	return rec, nil
}

func (rec *record) close() { _ = rec.dir.Close() } // it was not written to by this descriptor

func (rec *record) read() error {
	data, err := rec.dir.ReadFile(recordFile, recordSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return rec.set.failed(err)
	default:
		if err := json.Unmarshal(data, &rec.gone); err != nil {
			path := filepath.Join(rec.dir.Path(), recordFile)
			return fmt.Errorf("assets.%s: read %s: %w: remove it; superctl then keeps the files of removed releases",
				rec.set.Name, path, err)
		}
	}
	if rec.gone == nil {
		rec.gone = make(map[string]map[string]time.Time)
	}
	if rec.gone[rec.set.To] == nil {
		rec.gone[rec.set.To] = make(map[string]time.Time)
	}
	return nil
}

// files returns the files of the set's directory.
func (rec *record) files() map[string]time.Time { return rec.gone[rec.set.To] }

// add records files of a release, and writes the record if it has changed.
func (rec *record) add(files []file) error {
	known, changed := rec.files(), false
	for _, f := range files {
		if since, ok := known[f.path]; !ok || !since.IsZero() {
			known[f.path], changed = time.Time{}, true
		}
	}
	if !changed {
		return nil
	}
	return rec.write()
}

func (rec *record) write() error {
	data, err := json.Marshal(rec.gone)
	if err != nil {
		return err
	}
	rec.set.fault("write the record")
	return rec.dir.Replace(recordFile, data, recordMode)
}
