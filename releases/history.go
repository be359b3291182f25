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

// History is the log of all changes: an append-only file of JSON lines.
type History struct{ Path string }

// recordLimit is the length above which a line counts as damaged.
const recordLimit = 4 << 20

// Append adds a record in one durable write. If a crash has truncated the last line, the record
// starts on a new one.
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
		return fmt.Errorf("history: %w", err) // with the path
	}
	return nil
}

// cutOff reports whether the last line is incomplete.
func cutOff(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, st.Size()-1)
	return err == nil && last[0] != '\n'
}

// Record is one record with its number, counted from 1 over the readable records. It never changes,
// because the file only grows.
type Record struct {
	Number int
	Data   json.RawMessage // an object
}

// MarshalJSON returns the record with its number as the first key.
func (r Record) MarshalJSON() ([]byte, error) {
	rest := bytes.TrimSpace(r.Data[1:])
	comma := ","
	if rest[0] == '}' {
		comma = ""
	}
	return fmt.Appendf(nil, `{"number":%d%s%s`, r.Number, comma, rest), nil
}

// ErrNoRecord is the error when no record has the number.
var ErrNoRecord = errors.New("there is no such record")

// Read returns the newest records, at most most of them (0 = all), newest first. It skips lines
// that a crash has damaged.
func (h History) Read(most int) ([]Record, error) {
	var records []Record
	_, err := h.each(func(r Record) {
		if most > 0 && len(records) == most {
			records = slices.Delete(records, 0, 1)
		}
		r.Data = slices.Clone(r.Data)
		records = append(records, r)
	})
	slices.Reverse(records)
	return records, err
}

// Find returns the record with a number, or ErrNoRecord and the number of the newest.
func (h History) Find(number int) (found Record, newest int, err error) {
	newest, err = h.each(func(r Record) {
		if r.Number == number {
			found = Record{r.Number, slices.Clone(r.Data)}
		}
	})
	if err == nil && found.Number == 0 {
		err = ErrNoRecord
	}
	return found, newest, err
}

// each calls f for all records, oldest first, and returns how many there are. A record's data is
// valid only during the call.
func (h History) each(f func(Record)) (number int, err error) {
	file, err := os.Open(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return 0, fmt.Errorf("open history: %w: only root and the daemon's user may read it", err)
	}
	if err != nil {
		return 0, fmt.Errorf("open history: %w", err)
	}
	defer file.Close()
	var line []byte
	for in, length := bufio.NewReaderSize(file, 64<<10), 0; ; {
		part, err := in.ReadSlice('\n')
		if length += len(part); length <= recordLimit {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		record := bytes.TrimSpace(line)
		if length <= recordLimit && len(record) > 0 && record[0] == '{' && json.Valid(record) {
			number++
			f(Record{number, record})
		}
		line, length = line[:0], 0
		switch {
		case errors.Is(err, io.EOF):
			return number, nil
		case err != nil:
			return number, fmt.Errorf("read history %s: %w", h.Path, err)
		}
	}
}
