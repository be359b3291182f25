package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"superctl/beneath"
)

// fileLimit is the largest config or env_file that is read.
const fileLimit = 1 << 20

// readTime is how long a file may take to be read. A local one takes microseconds; one on a file server that is gone takes for ever.
const readTime = 10 * time.Second

// readRegular reads a regular file and nothing else: a pipe or a device might never end, and neither may a file on a file server
// that is gone. The error does not have the path, which the message has already.
func readRegular(path string) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	got := make(chan result, 1) // the goroutine ends with the read, whoever waits for it
	go func() {
		data, err := readNow(path)
		got <- result{data, err}
	}()
	late := time.NewTimer(readTime)
	defer late.Stop()
	select {
	case r := <-got:
		return r.data, reason(r.err)
	case <-late.C:
		return nil, fmt.Errorf("it cannot be read: no answer within %s; is its file system mounted from a server that is gone?", readTime)
	}
}

// readNow reads a regular file, and for root none that a link of the app's user leads to unless it is that user's own.
func readNow(path string) ([]byte, error) {
	f, err := beneath.OpenFile(path)
	if errors.Is(err, fs.ErrInvalid) {
		if st, bad := os.Stat(path); bad == nil && st.IsDir() {
			return nil, errors.New("it is a directory, not a file")
		}
		return nil, errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // for reading only
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(data) > fileLimit {
		return nil, fmt.Errorf("it has more than %d bytes, the limit", fileLimit)
	}
	return data, err
}

// reason is an error without the path.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// withoutBOM returns a text without the byte order mark that some editors put before it.
func withoutBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF")) }
