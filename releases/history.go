package releases

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// History is the record of every change: a file of JSON lines that only grows.
type History struct{ Path string }

// recordLimit is the longest line that is read; a longer one is damaged.
const recordLimit = 4 << 20

// Append adds a record in one durable write. A tail that a crash has cut off stays where it is and gets a line of its own.
func (h History) Append(record any) error {
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	f, err := os.OpenFile(h.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open history: %w", err)
	}
	line = append(line, '\n')
	if cutOff(f) {
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write history %s: %w", h.Path, err)
	}
	return nil
}

func cutOff(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, st.Size()-1)
	return err == nil && last[0] != '\n'
}

// Read is the newest records, at most so many (0 = all), the newest first. Lines that a crash has damaged are left out.
func (h History) Read(most int) ([]json.RawMessage, error) {
	f, err := os.Open(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	defer f.Close() //nolint:errcheck // for reading only
	var records []json.RawMessage
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 64<<10), recordLimit)
	for lines.Scan() {
		if line := bytes.TrimSpace(lines.Bytes()); json.Valid(line) {
			records = append(records, slices.Clone(line))
			if most > 0 && len(records) > most {
				records = slices.Delete(records, 0, len(records)-most)
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read history %s: %w", h.Path, err)
	}
	slices.Reverse(records)
	return records, nil
}
