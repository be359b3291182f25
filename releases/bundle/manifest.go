// Package bundle is the file in which a release travels: NAME-VERSION.tar.zst, made once and installed everywhere.
//
// A bundle is a tar archive, compressed with zstd. Its first member is manifest.json, which says what the release is, what it
// needs, and of every other member its path, mode, size and hash. The others follow in the order of their paths:
//
//	project/...            the project's files
//	wheels/NAME.whl        every dependency
//
// The same manifest and members make the same bytes. A reader believes nothing: what the manifest does not name, or names
// otherwise, ends the reading with the reason, and no path can lead outside (see checkPath and checkLink). Whether the
// bundle is the one that somebody has made is what its signature tells, in a file of its own beside it.
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

// Format is the version of the format that this package writes, and the newest that it reads.
const Format = 1

// The limits of what is read. A manifest has about 150 bytes for each member.
const (
	manifestName  = "manifest.json"
	manifestLimit = 64 << 20
	membersLimit  = 400_000
)

// The directories of the archive.
const (
	Project = "project"
	Wheels  = "wheels"
)

// Manifest says what a bundle is.
type Manifest struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Version string `json:"version"` // also the name of the release directory

	Commit    string    `json:"commit,omitempty"`
	Branch    string    `json:"branch,omitempty"`
	Dirty     bool      `json:"dirty,omitempty"` // the tree was not as the commit has it
	Committed time.Time `json:"committed,omitzero"`
	Built     time.Time `json:"built,omitzero"`
	Builder   string    `json:"builder,omitempty"`
	Superctl  string    `json:"superctl,omitempty"` // version of superctl that has built it

	Python    Python     `json:"python"`
	Lock      Lock       `json:"lock,omitzero"`
	Processes []string   `json:"processes,omitempty"` // that the app's config is expected to have
	Smoke     [][]string `json:"smoke,omitempty"`     // commands that must succeed before the release is there
	// Env is written no more: it has the variables of the build, which are not for workers. Bundles that have it are still read.
	Env map[string]string `json:"env,omitempty"`

	Members []Member `json:"members"`
}

// Python is the interpreter that the wheels are for, in the words of PEP 425 and of Python's own platform module.
type Python struct {
	Implementation string `json:"implementation"` // "cpython"
	Version        string `json:"version"`        // "3.11.2"
	ABI            string `json:"abi"`            // "cp311"
	Platform       string `json:"platform"`       // "linux-x86_64"
	Libc           string `json:"libc,omitempty"` // "glibc 2.36": the oldest that the wheels run with; "" = they do not mind
}

// Lock is the file from which the dependencies were taken.
type Lock struct {
	Name   string `json:"name"` // "uv.lock"
	SHA256 string `json:"sha256"`
}

// Member is one file of the bundle, or a symbolic link of the project.
type Member struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode,omitempty"` // 0644 or 0755, as git knows no other; 0 of a link
	Size   int64  `json:"size,omitempty"` // bytes
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"` // where a symbolic link leads
	// Unpacked is the size of a wheel's content, for those who look whether there is room; 0 = not known.
	Unpacked int64 `json:"unpacked,omitempty"`
}

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	processPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	hashPattern    = regexp.MustCompile(`^[0-9a-f]+$`)
)

// The longest names, in bytes, and the length of a SHA-256 sum in hexadecimal. A pattern with a count is compiled to as many
// copies, at each start of each command and worker.
const (
	longestName    = 128
	longestProcess = 32
	hashLength     = 64
)

// reservedVersions are words that mean a release where a release is to be named.
var reservedVersions = []string{"latest", "live", "current", "previous"} //nolint:gochecknoglobals // a constant that Go cannot say

// CheckName says what is wrong with the name or the version of a bundle; what is "name" or "version".
func CheckName(what, text string) error {
	if len(text) > longestName || !namePattern.MatchString(text) {
		return fmt.Errorf("%s %q: use letters, digits and . _ + -, at most 128, beginning with a letter or a digit", what, text)
	}
	if what == "version" && slices.Contains(reservedVersions, text) {
		return fmt.Errorf("version %q: the word stands for a release already; choose another", text)
	}
	return nil
}

// File is the bundle's file name.
func (m *Manifest) File() string { return m.Name + "-" + m.Version + ".tar.zst" }

// Bytes is the size of all members that need room when they are unpacked: the files themselves, and what is in the wheels.
func (m *Manifest) Bytes() (n int64) {
	for i := range m.Members {
		n += m.Members[i].Size + m.Members[i].Unpacked
	}
	return n
}

// Check says what is wrong with a manifest; the members must be in the order of their paths, each once.
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
			return fmt.Errorf("process %q is no name of one", p)
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

// textLimit is the longest text of a manifest that people read.
const textLimit = 1024

// checkText refuses what people must not get to see: it is shown before anybody has vouched for the bundle.
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
			return errors.New("the sizes of its members are more than any disk has")
		}
		before, paths[e.Path] = e.Path, true
	}
	for i := range m.Members {
		for dir := range parents(m.Members[i].Path) {
			if paths[dir] {
				return fmt.Errorf("member %q lies under %q, which is no directory", m.Members[i].Path, dir)
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
			return fmt.Errorf("member %q is a link and a file at once", e.Path)
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

// encode is the manifest as it stands in the bundle.
func (m *Manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(m)
	return b.Bytes(), err
}
