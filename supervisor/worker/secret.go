package worker

import (
	"io"
	"os"

	"superctl/supervisor/worker/starter"
)

// Secrets are variables whose values are in files: by its name, the path of each.
type Secrets = starter.Secrets

// ReadSecret returns the content of a file as the value of a variable, as a starter does.
func ReadSecret(path string) (string, error) { return starter.ReadSecret(path) }

// SecretValue returns the value of a variable whose file at path has these contents.
func SecretValue(path string, data []byte) (string, error) { return starter.SecretValue(path, data) }

// SecretFrom is ReadSecret of an open file.
func SecretFrom(f *os.File) (string, error) {
	data, err := io.ReadAll(io.LimitReader(f, starter.SecretLimit+1))
	if err != nil {
		return "", err
	}
	return starter.SecretValue(f.Name(), data)
}
