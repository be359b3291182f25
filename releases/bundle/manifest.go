// Package bundle reads and writes the file format in which a release is shipped:
// NAME-VERSION.tar.zst, built once and installed everywhere.
//
// A bundle is a tar archive compressed with zstd. Its first member is manifest.json: what the
// release is, what it requires, and the path, mode, size and hash of every other member. The
// members follow in the order of their paths:
//
//	project/...            the project's files
//	wheels/NAME.whl        every dependency
//
// The same manifest and members produce the same bytes. A reader trusts nothing: a member that the
// manifest does not list, or lists differently, ends the reading with the reason, and no path can
// lead outside (see checkPath and checkLink). The origin of a bundle is proved by its signature, a
// separate file next to it.
package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"superctl/plain"
)

// Format is the version of the format that this package writes, and the newest one that it reads.
const Format = 1

// Limits of what is read. A manifest has about 150 bytes per member.
const (
	manifestName  = "manifest.json"
	manifestLimit = 64 << 20
	membersLimit  = 400_000
)

// The top directories of the archive.
const (
	Project = "project"
	Wheels  = "wheels"
)

// Manifest describes a bundle.
type Manifest struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Version string `json:"version"` // also the name of the release directory

	Commit    string    `json:"commit,omitempty"`
	Branch    string    `json:"branch,omitempty"`
	Dirty     bool      `json:"dirty,omitempty"` // built with uncommitted changes
	Committed time.Time `json:"committed,omitzero"`
	Built     time.Time `json:"built,omitzero"`
	Builder   string    `json:"builder,omitempty"`
	Superctl  string    `json:"superctl,omitempty"` // version of the superctl that built it

	Python    Python     `json:"python"`
	Lock      Lock       `json:"lock,omitzero"`
	Processes []string   `json:"processes,omitempty"` // processes that the app's config must define
	Smoke     [][]string `json:"smoke,omitempty"`     // commands that must succeed before the release is installed
	// Env is no longer written: it has the variables of the build, which are not meant for workers.
	// Older bundles that have it are still read.
	Env map[string]string `json:"env,omitempty"`

	Members []Member `json:"members"`
}

// Python is the interpreter that the wheels require, in the terms of PEP 425 and of Python's
// platform module.
type Python struct {
	Implementation string `json:"implementation"` // "cpython"
	Version        string `json:"version"`        // "3.11.2"
	ABI            string `json:"abi"`            // "cp311"
	Platform       string `json:"platform"`       // "linux-x86_64"
	Libc           string `json:"libc,omitempty"` // "glibc 2.36": the oldest that the wheels support; "" = any
}

// Lock is the lock file of the dependencies.
type Lock struct {
	Name   string `json:"name"` // "uv.lock"
	SHA256 string `json:"sha256"`
}

// Member is a file of the bundle, or a symbolic link of the project.
type Member struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode,omitempty"` // 0644 or 0755, the modes that git records; 0 for a link
	Size   int64  `json:"size,omitempty"` // bytes
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"` // target of a symbolic link
	// Unpacked is the size of a wheel's content, for the check of the disk space; 0 = unknown.
	Unpacked int64 `json:"unpacked,omitempty"`
}

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	processPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	hashPattern    = regexp.MustCompile(`^[0-9a-f]+$`)
)

// The longest names, in bytes, and the length of a SHA-256 sum in hexadecimal. They are not in the
// patterns: a repetition count is compiled to as many copies, at every start of every command and
// worker.
const (
	longestName    = 128
	longestProcess = 32
	hashLength     = 64
)

// reservedVersions are words that stand for a release on the command line.
//
//nolint:gochecknoglobals // a constant, which Go has no syntax for
var reservedVersions = []string{"latest", "live", "current", "previous", "none"}

// CheckName returns what is wrong with the name or the version of a bundle; what is "name" or
// "version".
func CheckName(what, text string) error {
	if len(text) > longestName || !namePattern.MatchString(text) {
		return fmt.Errorf("%s %q: use letters, digits and . _ + -, at most 128, beginning with a letter or a digit",
			what, text)
	}
	if what == "version" && slices.Contains(reservedVersions, text) {
		return fmt.Errorf("version %q: the word is reserved: choose another version", text)
	}
	return nil
}

// File returns the bundle's file name.
func (m *Manifest) File() string { return m.Name + "-" + m.Version + ".tar.zst" }

// Bytes returns the disk space that an installation needs: the size of all files and of the wheels'
// content.
func (m *Manifest) Bytes() (n int64) {
	for i := range m.Members {
		n += m.Members[i].Size + m.Members[i].Unpacked
	}
	return n
}

// Check returns what is wrong with a manifest. The members must be sorted by path and unique.
func (m *Manifest) Check() error {
	if m.Format != Format {
		return fmt.Errorf("its format is %d, and this superctl reads %d: install a newer superctl", m.Format, Format)
	}
	if err := errors.Join(CheckName("name", m.Name), CheckName("version", m.Version)); err != nil {
		return err
	}
	if err := m.checkText(); err != nil {
		return err
	}
	for _, p := range m.Processes {
		if len(p) > longestProcess || !processPattern.MatchString(p) {
			return fmt.Errorf("invalid process name %q: use letters, digits, _ and -, at most 32", p)
		}
	}
	for _, argv := range m.Smoke {
		if len(argv) == 0 || argv[0] == "" {
			return errors.New("a smoke command is empty")
		}
	}
	if len(m.Members) > membersLimit {
		return fmt.Errorf("it has %d members, and at most %d are read", len(m.Members), membersLimit)
	}
	return m.checkMembers()
}

// textLimit limits the length of a text in a manifest, in bytes.
const textLimit = 1024

// checkText refuses control characters in texts: they are shown before the bundle's signature is
// verified.
func (m *Manifest) checkText() error {
	for _, one := range []struct{ key, text string }{
		{"commit", m.Commit},
		{"branch", m.Branch},
		{"builder", m.Builder},
		{"superctl", m.Superctl},
		{"python.implementation", m.Python.Implementation},
		{"python.version", m.Python.Version},
		{"python.abi", m.Python.ABI},
		{"python.platform", m.Python.Platform},
		{"python.libc", m.Python.Libc},
		{"lock.name", m.Lock.Name},
	} {
		if len(one.text) > textLimit || !plain.IsLine(one.text) {
			return fmt.Errorf("%s: one line of text is expected, without control characters", one.key)
		}
	}
	return nil
}

func (m *Manifest) checkMembers() error {
	paths := make(map[string]bool, len(m.Members))
	var before string
	var total int64
	for i := range m.Members {
		e := &m.Members[i]
		if err := e.check(); err != nil {
			return err
		}
		if i > 0 && e.Path <= before {
			return fmt.Errorf("member %q comes after %q: they must be in order, each once", e.Path, before)
		}
		if total += e.Size + e.Unpacked; total < 0 {
			return errors.New("the total size of its members is too large")
		}
		before, paths[e.Path] = e.Path, true
	}
	for i := range m.Members {
		for dir := range parents(m.Members[i].Path) {
			if paths[dir] {
				return fmt.Errorf("member %q lies under %q, which is not a directory", m.Members[i].Path, dir)
			}
		}
	}
	return nil
}

func (e *Member) check() error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Link != "" {
		if e.Size != 0 || e.SHA256 != "" || e.Mode != 0 || e.Unpacked != 0 {
			return fmt.Errorf("member %q is both a link and a file", e.Path)
		}
		return checkLink(e.Path, e.Link)
	}
	switch {
	case e.Mode != 0o644 && e.Mode != 0o755:
		return fmt.Errorf("member %q has the mode %04o: only 0644 and 0755 are known", e.Path, e.Mode)
	case e.Size < 0 || e.Unpacked < 0:
		return fmt.Errorf("member %q has the size %d", e.Path, min(e.Size, e.Unpacked))
	case len(e.SHA256) != hashLength || !hashPattern.MatchString(e.SHA256):
		return fmt.Errorf("member %q has no SHA-256", e.Path)
	}
	return nil
}

// encode returns the manifest as stored in the bundle.
func (m *Manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(m)
	return b.Bytes(), err
}
