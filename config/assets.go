package config

import (
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultAssetKeep = 30 * 24 * time.Hour
	maxAssetDays     = 3650
)

// Assets is one [assets.NAME]: a directory of static files that releases publish.
type Assets struct {
	Name string
	From string        // path inside a release
	To   string        // where the files of all releases are
	Keep time.Duration // how long a file stays after the last release that has it
}

// assets parses [assets].
func (l *loader) assets() []Assets {
	var sets []Assets
	for _, name := range slices.Sorted(maps.Keys(l.f.Assets)) {
		key, t := "assets."+name, l.f.Assets[name]
		if !isItemName(name) {
			l.at(key, "assets %q: use letters, digits, - and _, at most %d", name, maxName)
		}
		a := Assets{
			Name: name, From: path.Clean(t.From), To: filepath.Clean(t.To), Keep: l.assetKeep(key+".keep", t.Keep),
		}
		if why := noAssetSource(t.From); why != "" {
			l.at(key+".from", "from = %q: %s", t.From, why)
		}
		l.assetTarget(key, t.To, a, sets)
		for shared := range l.f.Shared {
			if below(path.Clean(shared), a.From) {
				l.at(key+".from", "from = %q is in the shared path %q: each release needs its own static files", t.From, shared)
			}
		}
		sets = append(sets, a)
	}
	return sets
}

// noAssetSource returns why a path inside a release cannot be its static files, or "". They may be
// in the virtualenv.
func noAssetSource(from string) string {
	if from == "" {
		return `write the directory inside a release that has the static files, such as "static"`
	}
	if first, _, _ := strings.Cut(path.Clean(from), "/"); first == "venv" || first == ".venv" {
		return ""
	}
	return noSharedPath(from)
}

// assetTarget checks the directory that the files of a set are published in.
func (l *loader) assetTarget(key, to string, a Assets, others []Assets) {
	switch at := key + ".to"; {
	case to == "":
		l.at(at, "%s has no target: write to = %q, the directory that nginx serves", key, "/srv/"+l.c.App+"/static")
	case l.path(at, to) == "":
	case below(l.c.Releases, a.To) || below(a.To, l.c.Releases):
		l.at(at, "to = %q: it must be apart from the releases in %s, to outlive them", to, l.c.Releases)
	case l.c.Current != "" && below(l.c.Current, a.To):
		l.at(at, "to = %q leads into the live release: write a directory outside %s, for all releases", to, l.c.Current)
	default:
		for _, other := range others {
			if below(other.To, a.To) || below(a.To, other.To) {
				l.at(at, "to = %q: assets.%s publishes in %s, and each needs its own directory", to, other.Name, other.To)
			}
		}
	}
}

// assetKeep parses a duration that may be in days.
func (l *loader) assetKeep(key string, v *duration) time.Duration {
	if v == nil {
		return defaultAssetKeep
	}
	if digits, ok := strings.CutSuffix(string(*v), "d"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil && n <= maxAssetDays {
			return time.Duration(n) * 24 * time.Hour
		}
		l.at(key, `keep = %q: write a number of days from "0d" to "%dd"`, *v, maxAssetDays)
		return defaultAssetKeep
	}
	if _, err := time.ParseDuration(string(*v)); err != nil {
		l.at(key, `keep = %q: write a duration such as "30d" or "12h"`, *v)
		return defaultAssetKeep
	}
	return l.duration(key, v, defaultAssetKeep, 0)
}
