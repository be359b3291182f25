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

// MetadataName is the file in which a release describes itself.
const MetadataName = "release.toml"

// metadataLimit bounds how much of a release's own files is read.
const metadataLimit = 64 << 10

// Metadata is a release's description of itself, from release.toml, where each key is optional, or
// else from REVISION or git. Times are RFC 3339.
type Metadata struct {
	Project   string            `toml:"name,omitempty"` // the project; the release has the name of its directory
	Version   string            `toml:"version,omitempty"`
	Commit    string            `toml:"commit,omitempty"` // in lower case; "" if unknown
	Branch    string            `toml:"branch,omitempty"`
	Dirty     bool              `toml:"dirty,omitempty"` // built with uncommitted changes
	Committed time.Time         `toml:"committed,omitempty"`
	Built     time.Time         `toml:"built,omitempty"`
	Builder   string            `toml:"builder,omitempty"`
	Installed time.Time         `toml:"installed,omitempty"` // default: when the directory was first seen
	Bundle    string            `toml:"bundle,omitempty"`    // sha256 of the bundle file
	Tree      string            `toml:"tree,omitempty"`      // hash of the list of its files
	Size      int64             `toml:"size,omitempty"`      // bytes on disk after the installation; 0 = unknown
	Processes []string          `toml:"processes,omitempty"` // processes that the config must define
	Env       map[string]string `toml:"env,omitempty"`       // of its workers
}

// describe reads the release's metadata from the first of these files that exists: release.toml,
// Capistrano's REVISION, git.
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
		if data, err = readSmall(filepath.Join(r.Path, "REVISION_TIME")); err == nil { // since Capistrano 3.17
			r.Committed = unixTime(strings.TrimSpace(string(data)))
		}
		return nil
	}
	r.fromGit()
	return nil
}

// fromTOML takes the metadata from the text of release.toml; after an error nothing has changed.
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

// ParseMetadata parses a release.toml. It ignores unknown keys. The error begins with the file's
// name.
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
		return Metadata{}, fmt.Errorf("%s cannot be read: line %d, column %d: %s",
			MetadataName, line, column, wrongValue(wrong))
	case err != nil:
		return Metadata{}, fmt.Errorf("%s cannot be read: %w", MetadataName, err)
	}
	m.Commit = strings.ToLower(m.Commit)
	if err := m.check(); err != nil {
		return Metadata{}, fmt.Errorf("%s cannot be used: %w", MetadataName, err)
	}
	return m, nil
}

// wrongValue returns which value a key expects.
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

// Limits of release.toml: its text is shown on terminals, and its env is passed to workers.
const (
	textLimit  = 1024
	valueLimit = 32 << 10
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check refuses values that must not reach a terminal or a worker.
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
		return fmt.Errorf("commit: %q contains a space", m.Commit)
	}
	if m.Size < 0 {
		return fmt.Errorf("size: %d is negative", m.Size)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Env)) {
		switch value := m.Env[name]; {
		case !envName.MatchString(name):
			return fmt.Errorf("env: %q is not a variable name: "+
				"use letters, digits and _, and do not begin with a digit", name)
		case strings.ContainsRune(value, 0) || len(value) > valueLimit:
			return fmt.Errorf("env.%s: its value is longer than %d KB or contains a NUL", name, valueLimit>>10)
		case Reserved(name) != "":
			return fmt.Errorf("env.%s: %s", name, Reserved(name))
		}
	}
	return nil
}

func printable(s string) bool {
	unprintable := func(c rune) bool { return !unicode.IsPrint(c) }
	return len(s) <= textLimit && utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable)
}

// A commit is named by 7 hexadecimal digits at least, as git abbreviates it, and by 64 at most, as
// of a SHA-256 repository.
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
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, metadataLimit))
}

// openRegular opens a file of a release. It does not block on a FIFO, and does not follow a link of
// the app's user to another user's files.
func openRegular(path string) (*os.File, error) { return beneath.OpenFile(path) }
