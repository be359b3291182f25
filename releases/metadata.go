package releases

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"superctl/beneath"
)

// MetadataName is the file in which a release says what it is.
const MetadataName = "release.toml"

// metadataLimit bounds what is read of a file that a release brings.
const metadataLimit = 64 << 10

// Metadata is what a release says of itself: in release.toml, where each key may be absent, else in REVISION or by git.
// Times are RFC 3339.
type Metadata struct {
	Project   string            `toml:"name,omitempty"` // the release itself is called as its directory is
	Version   string            `toml:"version,omitempty"`
	Commit    string            `toml:"commit,omitempty"` // in small letters; "" when the release does not say
	Branch    string            `toml:"branch,omitempty"`
	Dirty     bool              `toml:"dirty,omitempty"` // built with changes that are not in the commit
	Committed time.Time         `toml:"committed,omitempty"`
	Built     time.Time         `toml:"built,omitempty"`
	Builder   string            `toml:"builder,omitempty"`
	Installed time.Time         `toml:"installed,omitempty"` // else when the directory was changed last
	Bundle    string            `toml:"bundle,omitempty"`    // sha256 of the bundle's file
	Tree      string            `toml:"tree,omitempty"`      // hash of all its files
	Size      int64             `toml:"size,omitempty"`      // what it takes on disk, as it was installed; 0 = not counted
	Processes []string          `toml:"processes,omitempty"` // that the config is expected to have
	Env       map[string]string `toml:"env,omitempty"`       // of its workers
}

// describe reads what the release says of itself, from the first that is there: release.toml, Capistrano's REVISION, git.
func (r *Release) describe() error {
	data, err := readSmall(filepath.Join(r.Path, MetadataName))
	switch {
	case err == nil:
		return r.fromTOML(data)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its %s cannot be read: %w", MetadataName, err)
	}
	if data, err = readSmall(filepath.Join(r.Path, "REVISION")); err == nil {
		if commit := strings.ToLower(strings.TrimSpace(string(data))); isCommit(commit) {
			r.Commit = commit
		}
		if data, err = readSmall(filepath.Join(r.Path, "REVISION_TIME")); err == nil { // Capistrano's too, from 3.17 on
			r.Committed = unixTime(strings.TrimSpace(string(data)))
		}
		return nil
	}
	r.fromGit()
	return nil
}

// fromTOML takes over what release.toml says, or nothing of it.
func (r *Release) fromTOML(data []byte) error {
	m, err := ParseMetadata(data)
	if err != nil {
		return fmt.Errorf("its %w", err)
	}
	if m.Installed.IsZero() {
		m.Installed = r.Installed
	}
	r.Metadata = m
	return nil
}

// ParseMetadata reads the text of a release.toml. Keys that it does not know are somebody else's. Its error begins with the
// name of the file.
func ParseMetadata(data []byte) (Metadata, error) {
	var m Metadata
	if len(data) >= metadataLimit {
		return m, fmt.Errorf("%s is larger than %d KB", MetadataName, metadataLimit>>10)
	}
	err := toml.Unmarshal(data, &m)
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &wrong):
		line, column := wrong.Position()
		return Metadata{}, fmt.Errorf("%s cannot be read: line %d, column %d: %s", MetadataName, line, column, wrongValue(wrong))
	case err != nil:
		return Metadata{}, fmt.Errorf("%s cannot be read: %w", MetadataName, err)
	}
	m.Commit = strings.ToLower(m.Commit)
	if err := m.check(); err != nil {
		return Metadata{}, fmt.Errorf("%s cannot be used: %w", MetadataName, err)
	}
	return m, nil
}

// wrongValue says what a key takes.
func wrongValue(e *toml.DecodeError) string {
	msg := strings.TrimPrefix(e.Error(), "toml: ")
	key := strings.Join(e.Key(), ".")
	if !strings.HasPrefix(msg, "cannot decode") && !strings.HasPrefix(msg, "parsing time") {
		return msg
	}
	expected := "a string is expected, in quotes"
	switch key {
	case "dirty":
		expected = "true or false is expected"
	case "size":
		expected = "a whole number of bytes is expected"
	case "committed", "built", "installed":
		expected = "a time is expected, such as 2026-11-23T10:00:00Z"
	case "processes":
		expected = "a list of strings is expected"
	case "env":
		expected = "a table of strings is expected"
	}
	return key + ": " + expected
}

// Limits of what release.toml may say: it is shown on terminals, and its env is given to workers.
const (
	textLimit  = 1024
	valueLimit = 32 << 10
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check finds what must not get to a terminal or a worker.
func (m *Metadata) check() error {
	for _, one := range []struct{ key, text string }{
		{"name", m.Project},
		{"version", m.Version},
		{"commit", m.Commit},
		{"branch", m.Branch},
		{"builder", m.Builder},
		{"bundle", m.Bundle},
		{"tree", m.Tree},
		{"processes", strings.Join(m.Processes, "")},
	} {
		if !printable(one.text) {
			return fmt.Errorf("%s: one line of text is expected, without control characters", one.key)
		}
	}
	if strings.ContainsFunc(m.Commit, unicode.IsSpace) {
		return fmt.Errorf("commit: %q has a space in it", m.Commit)
	}
	if m.Size < 0 {
		return fmt.Errorf("size: %d is below zero", m.Size)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Env)) {
		switch value := m.Env[name]; {
		case !envName.MatchString(name):
			return fmt.Errorf("env: %q is no name of a variable: letters, digits and _ are, not beginning with a digit", name)
		case strings.ContainsRune(value, 0) || len(value) > valueLimit:
			return fmt.Errorf("env.%s: its value is longer than %d KB or has a NUL in it", name, valueLimit>>10)
		case Reserved(name) != "":
			return fmt.Errorf("env.%s: %s", name, Reserved(name))
		}
	}
	return nil
}

func printable(s string) bool {
	return len(s) <= textLimit && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

// A commit is named by 7 hexadecimal digits at least, as git abbreviates it, and by 64 at most, as of a SHA-256 repository.
const (
	shortestCommit = 7
	longestCommit  = 64
)

func isCommit(s string) bool {
	return len(s) >= shortestCommit && len(s) <= longestCommit && strings.Trim(s, "0123456789abcdef") == ""
}

// readSmall reads a regular file of limited size.
func readSmall(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // for reading only
	return io.ReadAll(io.LimitReader(f, metadataLimit))
}

// openRegular opens a file that a release brings. A FIFO of that name must not hold anybody up, and a link of the app's user must not
// lead a root daemon to the secrets of others.
func openRegular(path string) (*os.File, error) { return beneath.OpenFile(path) }
