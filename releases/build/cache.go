package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"superctl/releases/bundle"
)

// cache keeps wheels by the hash of their content, and, by the hash of a source, the list of wheels
// built from it. An entry is written under a temporary name and renamed, so that concurrent builds
// are safe, and never changes. An entry that does not match its hash is removed and recreated.
type cache struct{ dir string }

// wheel is a wheel that goes into the bundle.
type wheel struct {
	File    string   `json:"file"` // its name
	SHA256  string   `json:"sha256"`
	Size    int64    `json:"size"`
	Differs []string `json:"differs,omitempty"` // what was not the same when it was built a second time

	path string
}

var errNotCached = errors.New("not in the cache")

func (c *cache) place(file, sum string) string {
	return filepath.Join(c.dir, "wheels", sum[:2], sum, file)
}

// wheel returns the path of a cached wheel, after verifying its content.
func (c *cache) wheel(file, sum string) (string, error) {
	path := c.place(file, sum)
	_, got, err := bundle.Sum(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNotCached
	}
	if err != nil {
		return "", err
	}
	if got != sum {
		return "", errors.Join(errNotCached, os.Remove(path))
	}
	return path, nil
}

// add copies a wheel into the cache; sum is its expected hash, if known.
func (c *cache) add(from, sum string) (string, error) {
	_, got, err := bundle.Sum(from)
	if err != nil {
		return "", err
	}
	if sum != "" && got != sum {
		return "", fmt.Errorf("%s has the SHA-256 %s instead of %s", filepath.Base(from), got, sum)
	}
	to := c.place(filepath.Base(from), got)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { // wheels are no secret
		return "", cacheError(err)
	}
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := renameio.TempFile(filepath.Dir(to), to)
	if err != nil {
		return "", cacheError(err)
	}
	defer out.Cleanup()
	if _, err := io.Copy(out, in); err != nil {
		return "", cacheError(err)
	}
	if err := out.Chmod(0o644); err != nil {
		return "", cacheError(err)
	}
	if err := out.CloseAtomicallyReplace(); err != nil {
		return "", cacheError(err)
	}
	return to, nil
}

func cacheError(err error) error {
	return fmt.Errorf("the cache: %w (set SUPERCTL_CACHE to use another directory)", err)
}

// keep adds a wheel that was just built, and describes it.
func (c *cache) keep(from string, differs []string) (wheel, error) {
	path, err := c.add(from, "")
	if err != nil {
		return wheel{}, err
	}
	size, sum, err := bundle.Sum(path)
	return wheel{File: filepath.Base(path), SHA256: sum, Size: size, Differs: differs, path: path}, err
}

// remember records the wheels built from something. key is a hash.
func (c *cache) remember(key string, wheels []wheel) error {
	data, err := json.Marshal(wheels)
	if err != nil {
		return err
	}
	path := c.note(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // hashes are no secret
		return cacheError(err)
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return cacheError(err)
	}
	return nil
}

func (c *cache) note(key string) string { return filepath.Join(c.dir, "made", key[:2], key+".json") }

// recall returns the wheels that remember recorded, if all of them are still cached and intact.
func (c *cache) recall(key string) ([]wheel, bool) {
	data, err := os.ReadFile(c.note(key))
	if err != nil {
		return nil, false
	}
	var list []wheel
	if json.Unmarshal(data, &list) != nil {
		return nil, false
	}
	for i := range list {
		w := &list[i]
		if len(w.SHA256) != 64 || strings.ContainsRune(w.File, '/') {
			return nil, false
		}
		if w.path, err = c.wheel(w.File, w.SHA256); err != nil {
			return nil, false
		}
	}
	return list, true
}
