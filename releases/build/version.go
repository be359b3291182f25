package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"superctl/releases/bundle"
)

// stampLayout formats times so that names sort by time.
const stampLayout = "20060102-150405"

// name sets the bundle's name and version.
func (b *builder) name() error {
	if b.Name == "" {
		b.Name = b.project.Project.Name
	}
	if b.Name == "" {
		b.Name = filepath.Base(b.Dir)
	}
	if err := bundle.CheckName("name", b.Name); err != nil {
		return inputError("%v: set it with --name or [build] name", err)
	}
	if b.Version == "" {
		b.Version = b.defaultVersion()
	}
	if err := bundle.CheckName("version", b.Version); err != nil {
		return inputError("%v", err)
	}
	return nil
}

// defaultVersion returns the commit's time and hash, 20261125-081655-9f3c2ab; for a modified tree
// 20261125-081655-9f3c2ab-dirty-1a2b3c4.
func (b *builder) defaultVersion() string {
	if !b.source.git {
		return b.Now().UTC().Format(stampLayout) + "-" + b.treeSum()[:7]
	}
	v := b.source.committed.Format(stampLayout) + "-" + b.source.commit[:7]
	if b.source.dirty {
		v += "-dirty-" + b.treeSum()[:7]
	}
	return v
}

// treeSum returns a hash of all files of the copy.
func (b *builder) treeSum() string {
	h := sha256.New()
	for _, f := range b.files {
		fmt.Fprintf(h, "%s\x00%o\x00%s\x00%s\x00%t\n", f.path, f.mode, f.sum, f.link, f.ship)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// epochVar is the variable that sets the current time of a build
// (https://reproducible-builds.org/specs/source-date-epoch).
const epochVar = "SOURCE_DATE_EPOCH"

// times returns the time for the project's own build, and the build time in the manifest: the
// commit's, so that the same commit produces the same bytes. A modified tree, or one without a
// commit, has the current time.
func (b *builder) times() (epoch, built time.Time, err error) {
	if text, ok := lookup(b.Environ, epochVar); ok && text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 {
			return epoch, built, inputError("invalid %s=%q: use a number of seconds since 1970", epochVar, text)
		}
		at := time.Unix(seconds, 0).UTC()
		return at, at, nil
	}
	now := b.began.UTC().Truncate(time.Second)
	switch {
	case !b.source.git:
		return now, now, nil
	case b.source.dirty:
		return b.source.committed, now, nil
	}
	return b.source.committed, b.source.committed, nil
}
