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

// fileLimit is the maximum size in bytes of a config or env_file.
const fileLimit = 1 << 20

// readTime is how long reading a file may take. A local file takes microseconds; one on an
// unreachable file server takes forever.
const readTime = 10 * time.Second

// readRegular reads a regular file with a time limit: reading a pipe, a device or a file on an
// unreachable file server might never end. The error does not contain the path, which the message
// has already.
func readRegular(path string) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	got := make(chan result, 1) // buffered, so that the goroutine ends after a timeout
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
		return nil, fmt.Errorf("it cannot be read: no answer within %s; is its file server unreachable?", readTime)
	}
}

// readNow reads a regular file. For root it refuses a link of the app's user to a file that is not
// that user's own.
func readNow(path string) ([]byte, error) {
	f, err := beneath.OpenFile(path)
	if errors.Is(err, fs.ErrInvalid) {
		if st, bad := os.Stat(path); bad == nil && st.IsDir() {
			return nil, errors.New("it is a directory")
		}
		return nil, errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(data) > fileLimit {
		return nil, fmt.Errorf("it has more than %d bytes, the limit", fileLimit)
	}
	return data, err
}

// reason returns an error without the path.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// withoutBOM removes the byte order mark that some editors write.
func withoutBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF")) }
