package starter

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"syscall"
)

// Secrets are variables whose values are in files: by its name, the path of each. The values are
// read when a program is started, by its own user, and they are kept nowhere: not in the daemon,
// nor in its state, nor in the arguments of a process.
type Secrets map[string]string

// SecretLimit is what one variable can have, less its name.
const SecretLimit = stringLimit - 1<<10

// read returns NAME=VALUE of each.
func (s Secrets) read() ([]string, error) {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		value, err := ReadSecret(s[name])
		if errors.Is(err, syscall.ENOENT) {
			err = errors.New(err.Error() + ": the file was removed; superctl reload creates it again")
		}
		if err != nil {
			return nil, &stepError{"environment variable " + name, err}
		}
		env = append(env, name+"="+value)
	}
	return env, nil
}

// ReadSecret returns the content of a file as the value of a variable: without the newline that
// editors and echo put at its end. Its error has nothing of the content.
func ReadSecret(path string) (string, error) {
	// Without O_NONBLOCK a FIFO would block.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", &stepError{"open " + path, err}
	}
	data, err := readAll(fd, SecretLimit+1)
	if err != nil {
		return "", &stepError{"read " + path, err}
	}
	return SecretValue(path, data)
}

// SecretValue returns the value of a variable whose file at path has these contents. It takes at
// most SecretLimit bytes.
func SecretValue(path string, data []byte) (string, error) {
	if len(data) > SecretLimit {
		return "", errors.New(path + " is longer than " + strconv.Itoa(SecretLimit>>10) + " KB")
	}
	if slices.Contains(data, 0) {
		return "", errors.New(path + " has a NUL byte, which no variable can have")
	}
	for _, end := range []byte{'\n', '\r'} {
		if n := len(data); n > 0 && data[n-1] == end {
			data = data[:n-1]
		}
	}
	return string(data), nil
}
