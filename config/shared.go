package config

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// shared parses [shared]: paths inside a release, each with the path outside that it links to.
func (l *loader) shared() map[string]string {
	names := slices.Sorted(maps.Keys(l.f.Shared))
	clean := make(map[string]string, len(names))
	for _, name := range names { // sorted, so that a directory comes before its content
		key := "shared." + name
		if why := noSharedPath(name); why != "" {
			l.at(key, "shared path %q: %s", name, why)
			continue
		}
		for other := range clean {
			if below(other, path.Clean(name)) {
				l.at(key, "shared path %q is in shared path %q: only one of them can be a link", name, other)
			}
		}
		clean[path.Clean(name)] = filepath.Clean(l.f.Shared[name])
		switch target := l.f.Shared[name]; {
		case target == "":
			l.at(key, "shared path %q has no target: write the directory that it links to, from /", name)
		case l.path(key, target) == "":
		case below(l.c.Releases, filepath.Clean(target)):
			l.at(key,
				"shared path %q leads into the releases: what it is a link to must be outside %s, to outlive them",
				name, l.c.Releases)
		}
	}
	return clean
}

// noSharedPath returns why a path inside a release cannot be a shared link, or "".
func noSharedPath(name string) string {
	clean := path.Clean(name)
	first, _, _ := strings.Cut(clean, "/")
	switch {
	case name == "":
		return "it is empty"
	case path.IsAbs(name):
		return "write it as it is inside a release, without / at the beginning"
	case first == "..":
		return "it leads out of the release"
	case clean == ".":
		return "it is the release itself"
	case first == "venv" || first == ".venv":
		return "the virtualenv belongs to its release"
	case first == ".superctl" || clean == "release.toml" || clean == ".incomplete":
		return "superctl needs it in the release"
	case strings.TrimSuffix(name, "/") != clean:
		return fmt.Sprintf("write it as %q", clean)
	}
	return ""
}

// below reports whether a cleaned path is dir or inside it.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
