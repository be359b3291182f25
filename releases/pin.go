package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/pelletier/go-toml/v2"
)

// Pin says that a release is never removed. It is a file beside the releases, never in one.
type Pin struct {
	Note string    `toml:"note,omitempty"`
	By   string    `toml:"by,omitempty"`
	At   time.Time `toml:"at"`
}

// String says by whom and why.
func (p Pin) String() string {
	text := "pinned"
	if p.By != "" {
		text += " by " + p.By
	}
	if p.Note != "" {
		text += ": " + p.Note
	}
	return text
}

// CheckNote says what is wrong with a note, or nil.
func CheckNote(note string) error {
	if !printable(note) {
		return fmt.Errorf("one line of at most %d bytes is expected", textLimit)
	}
	return nil
}

func (s *Store) pins() string { return filepath.Join(s.Dir, ownName, "pins") }

// Pins are the pins by the name of the release. A file that cannot be read pins all the same.
func (s *Store) Pins() (map[string]Pin, error) {
	entries, err := os.ReadDir(s.pins())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the pins: %w", err)
	}
	pins := make(map[string]Pin, len(entries))
	for _, e := range entries {
		var p Pin
		data, err := readSmall(filepath.Join(s.pins(), e.Name()))
		if err != nil || toml.Unmarshal(data, &p) != nil || !printable(p.Note) || !printable(p.By) {
			p = Pin{}
		}
		pins[e.Name()] = p
	}
	return pins, nil
}

// Pin pins a release; false: it was, with the same note.
func (s *Store) Pin(name string, p Pin) (changed bool, err error) {
	pins, err := s.Pins()
	if err != nil {
		return false, err
	}
	if old, ok := pins[name]; ok && (p.Note == "" || old.Note == p.Note) {
		return false, nil
	}
	if _, err := s.own(); err != nil {
		return false, err
	}
	if err := os.Mkdir(s.pins(), 0o755); err == nil {
		err = s.give(s.pins())
		if err != nil {
			return false, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return false, s.mayNot(err)
	}
	data, err := toml.Marshal(p)
	if err != nil {
		return false, err
	}
	path := filepath.Join(s.pins(), name)
	if err := renameio.WriteFile(path, data, 0o644, renameio.WithTempDir(filepath.Join(s.Dir, ownName))); err != nil {
		return false, s.mayNot(fmt.Errorf("pin %s: %w", name, err))
	}
	return true, s.give(path)
}

// Unpin takes a pin away; false: there was none.
func (s *Store) Unpin(name string) (changed bool, err error) {
	err = os.Remove(filepath.Join(s.pins(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, s.mayNot(fmt.Errorf("unpin %s: %w", name, err))
	}
	return true, nil
}
