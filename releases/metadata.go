package releases

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// metadataLimit bounds what is read of a file that a release brings.
const metadataLimit = 64 << 10

// describe reads what the release says of itself, from the first that is there: release.toml, Capistrano's REVISION, git.
func (r *Release) describe() error {
	data, err := readSmall(filepath.Join(r.Path, "release.toml"))
	if err == nil {
		return r.fromTOML(data)
	}
	if data, err = readSmall(filepath.Join(r.Path, "REVISION")); err == nil {
		if commit := strings.ToLower(strings.TrimSpace(string(data))); isCommit(commit) {
			r.Commit = commit
		}
		return nil
	}
	r.fromGit()
	return nil
}

func (r *Release) fromTOML(data []byte) error {
	var m struct {
		Version   string    `toml:"version"`
		Commit    string    `toml:"commit"`
		Branch    string    `toml:"branch"`
		Installed time.Time `toml:"installed"`
	}
	if err := toml.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("its release.toml cannot be read: %w", err)
	}
	r.Version, r.Commit, r.Branch = m.Version, strings.ToLower(m.Commit), m.Branch
	if !m.Installed.IsZero() {
		r.Installed = m.Installed
	}
	return nil
}

// fromGit reads the commit of a checkout without running git, which might run what the checkout configures.
func (r *Release) fromGit() {
	head, err := readSmall(filepath.Join(r.Path, ".git", "HEAD"))
	if err != nil {
		return
	}
	text := strings.TrimSpace(string(head))
	ref, symbolic := strings.CutPrefix(text, "ref: ")
	if !symbolic {
		if isCommit(text) {
			r.Commit = text
		}
		return
	}
	if !filepath.IsLocal(ref) {
		return
	}
	r.Branch = strings.TrimPrefix(ref, "refs/heads/")
	if data, err := readSmall(filepath.Join(r.Path, ".git", ref)); err == nil {
		if commit := strings.TrimSpace(string(data)); isCommit(commit) {
			r.Commit = commit
		}
	}
}

var commitPattern = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func isCommit(s string) bool { return commitPattern.MatchString(s) }

// readSmall reads a regular file of limited size.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO of that name must not hold anybody up
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // for reading only
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(fs.ErrInvalid, err)
	}
	return io.ReadAll(io.LimitReader(f, metadataLimit))
}
