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

// Record is one record, with its number: which one it is, from 1, of those that can be read. A file that only grows keeps it.
type Record struct {
	Number int
	Data   json.RawMessage // an object
}

// MarshalJSON is the record with its number as the first key.
func (r Record) MarshalJSON() ([]byte, error) {
	rest := bytes.TrimSpace(r.Data[1:])
	comma := ","
	if rest[0] == '}' {
		comma = ""
	}
	return fmt.Appendf(nil, `{"number":%d%s%s`, r.Number, comma, rest), nil
}

// ErrNoRecord says that there is no record of that number.
var ErrNoRecord = errors.New("there is no such record")

// Read is the newest records, at most so many (0 = all), the newest first. Lines that a crash has damaged are left out.
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

// Find is the record with a number, or ErrNoRecord with the number of the newest.
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

// each hands on all records, the oldest first, and returns how many there are. Their data is valid until the next.
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
	defer file.Close() //nolint:errcheck // for reading only
	var line []byte
	for in, length := bufio.NewReaderSize(file, 64<<10), 0; ; {
		part, err := in.ReadSlice('\n')
		if length += len(part); length <= recordLimit {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if record := bytes.TrimSpace(line); length <= recordLimit && len(record) > 0 && record[0] == '{' && json.Valid(record) {
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
