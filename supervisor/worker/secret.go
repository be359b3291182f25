package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
)

// Secrets are variables whose values are in files: by its name, the path of each. The values are
// read when a program is started, by its own user, and they are kept nowhere: not in the daemon,
// nor in its state, nor in the arguments of a process.
type Secrets map[string]string

// secretLimit is what one variable can have, less its name.
const secretLimit = stringLimit - 1<<10

// readAll is NAME=VALUE of each.
func (s Secrets) readAll() ([]string, error) {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		value, err := ReadSecret(s[name])
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: the file was removed; superctl reload creates it again", err)
		}
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", name, err)
		}
		env = append(env, name+"="+value)
	}
	return env, nil
}

// ReadSecret is the content of a file as the value of a variable: without the newline that editors
// and echo put at its end. Its error has nothing of the content.
func ReadSecret(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hold anybody up
	if err != nil {
		return "", err
	}
	defer f.Close()
	return SecretFrom(f)
}

// SecretFrom is ReadSecret of an open file.
func SecretFrom(f *os.File) (string, error) {
	data, err := io.ReadAll(io.LimitReader(f, secretLimit+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > secretLimit:
		return "", fmt.Errorf("%s is longer than %d KB", f.Name(), secretLimit>>10)
	case bytes.IndexByte(data, 0) >= 0:
		return "", errors.New(f.Name() + " has a NUL byte, which no variable can have")
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	return string(bytes.TrimSuffix(data, []byte("\r"))), nil
}
