package requests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// folded is the file that has the counts of what does not exist any more. It is replaced as a
// whole, with the names of what it includes, before those are removed: after a death in between they
// are known, and not counted again.
type folded struct {
	Counts map[string]*Counts `json:"counts"`          // by process of the app
	Names  []string           `json:"names,omitempty"` // of what may still exist
}

// readFolded reads such a file; one that does not exist has no counts.
func readFolded(path string) (folded, error) {
	f := folded{Counts: make(map[string]*Counts)}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	if f.Counts == nil {
		f.Counts = make(map[string]*Counts)
	}
	for process, c := range f.Counts {
		if c == nil {
			delete(f.Counts, process)
		}
	}
	return f, nil
}

func (f *folded) write(path string) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

// included returns the names as a set.
func (f *folded) included() map[string]bool {
	set := make(map[string]bool, len(f.Names))
	for _, name := range f.Names {
		set[name] = true
	}
	return set
}

// add adds counts of a process.
func (f *folded) add(process string, c *Counts) {
	if f.Counts[process] == nil {
		f.Counts[process] = new(Counts)
	}
	f.Counts[process].Add(c)
}

// keep forgets the names of what does not exist any more.
func (f *folded) keep(existing []string) {
	included := f.included()
	f.Names = nil
	for _, name := range existing {
		if included[name] {
			f.Names = append(f.Names, name)
		}
	}
}
