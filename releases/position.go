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
)

// Position is a place between two records of a history. The zero value is before the first.
type Position struct {
	offset int64
	number int
}

// After calls f for the records after a position, oldest first, and returns the position after the
// last of them. A line that is still being written is left for the next call. A record's data is
// valid only during the call.
func (h History) After(at Position, f func(Record)) (Position, error) {
	file, err := os.Open(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err != nil {
		return at, fmt.Errorf("open history: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(at.offset, io.SeekStart); err != nil {
		return at, fmt.Errorf("read history %s: %w", h.Path, err)
	}
	for in := bufio.NewReaderSize(file, 64<<10); ; {
		line, err := in.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return at, nil
		case err != nil:
			return at, fmt.Errorf("read history %s: %w", h.Path, err)
		}
		at.offset += int64(len(line))
		record := bytes.TrimSpace(line)
		if len(line) <= recordLimit && len(record) > 0 && record[0] == '{' && json.Valid(record) {
			at.number++
			f(Record{at.number, record})
		}
	}
}
