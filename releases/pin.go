package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"superctl/beneath"
)

// Pin protects a release from every prune. It is a file in superctl's own directory, not in the
// release.
type Pin struct {
	Note string    `toml:"note,omitempty"`
	By   string    `toml:"by,omitempty"`
	At   time.Time `toml:"at"`
}

// String returns who pinned the release, and why.
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

// CheckNote returns what is wrong with a note, or nil.
func CheckNote(note string) error {
	if !printable(note) {
		return fmt.Errorf("one line of at most %d bytes is expected", textLimit)
	}
	return nil
}

// pinsName is the directory of the pins within superctl's own.
const pinsName = "pins"

// Pins returns the pins by release name. A file that cannot be read counts as a pin.
func (s *Store) Pins() (map[string]Pin, error) {
	dir, err := beneath.Open(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("read the pins: %w", err)
	}
	defer dir.Close()
	at, err := dir.SubPath(ownName + "/" + pinsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the pins: %w", err)
	}
	defer at.Close()
	entries, err := at.ReadDir()
	if err != nil {
		return nil, fmt.Errorf("read the pins: %w", err)
	}
	pins := make(map[string]Pin, len(entries))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") { // a temporary file
			pins[e.Name()] = readPin(at, e.Name())
		}
	}
	return pins, nil
}

func readPin(at *beneath.Dir, name string) Pin {
	var p Pin
	data, err := at.ReadFile(name, metadataLimit)
	if err != nil || toml.Unmarshal(data, &p) != nil || !printable(p.Note) || !printable(p.By) {
		return Pin{}
	}
	return p
}

// Pin pins a release. It returns false if it already was, with the same note.
func (s *Store) Pin(name string, p Pin) (changed bool, err error) {
	pins, err := s.Pins()
	if err != nil {
		return false, err
	}
	if old, ok := pins[name]; ok && (p.Note == "" || old.Note == p.Note) {
		return false, nil
	}
	at, err := s.openPins()
	if err != nil {
		return false, err
	}
	defer at.Close()
	data, err := toml.Marshal(p)
	if err != nil {
		return false, err
	}
	if err := at.Replace(name, data, 0o644); err != nil {
		return false, s.mayNot(fmt.Errorf("pin %s: %w", name, err))
	}
	return true, nil
}

// openPins opens the directory of the pins, and creates it if it is missing.
func (s *Store) openPins() (*beneath.Dir, error) {
	own, err := s.own()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	at, err := own.OpenOrMkdir(pinsName)
	if err != nil {
		return nil, s.mayNot(err)
	}
	return at, nil
}

// Unpin removes a pin. It returns false if there was none.
func (s *Store) Unpin(name string) (changed bool, err error) {
	pins, err := s.Pins()
	if _, ok := pins[name]; err != nil || !ok {
		return false, err
	}
	at, err := s.openPins()
	if err != nil {
		return false, err
	}
	defer at.Close()
	err = at.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, s.mayNot(fmt.Errorf("unpin %s: %w", name, err))
	}
	return true, nil
}
