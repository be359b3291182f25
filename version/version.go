// Package version knows which superctl this is.
package version

import (
	_ "embed"
	"runtime/debug"
	"strings"
)

// number is the version that is released next, or that this is (semver.org). A release is a commit
// with the tag "v" and this number.
//
//go:embed VERSION
var number string

// shortRevision is how many digits of a commit are shown.
const shortRevision = 12

// String returns the version of this binary: 0.1.0 for a release, 0.1.0-pre+9f3c2abd0123 for a
// build of another commit, with .dirty if the tree had changes.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return of(nil)
	}
	return of(info)
}

// of returns the version of a binary by what Go has recorded in it; nil = nothing.
func of(info *debug.BuildInfo) string {
	release := strings.TrimSpace(number)
	if info == nil || info.Main.Version == "v"+release {
		return release
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" { // built from an archive of the sources
		return release
	}
	v := release + "-pre+" + revision[:min(shortRevision, len(revision))]
	if settings["vcs.modified"] == "true" {
		v += ".dirty"
	}
	return v
}
