//go:build linux

package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/releases"
)

// ReleaseName returns the name of a release from a word of the command line. It may end with a slash
// from shell completion, begin with ./, or be a path of the release, through the current link too.
func ReleaseName(conf *config.Config, word string) (string, error) {
	if !strings.Contains(word, "/") && word != "." && word != ".." {
		return word, nil
	}
	if name := strings.TrimRight(word, "/"); name != "" && !strings.Contains(name, "/") && strings.Trim(name, ".") != "" {
		return name, nil
	}
	path, err := filepath.Abs(word)
	if err != nil {
		return "", err
	}
	if filepath.Dir(path) == filepath.Clean(conf.Releases) {
		return filepath.Base(path), nil
	}
	if name, isRelease := releaseAt(conf, path); isRelease {
		return name, nil
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if name, isRelease := releaseBelow(conf, word); isRelease {
			return name, nil
		}
	}
	return "", commandline.Usagef(
		"%s is not a release: the releases of %s are in %s (superctl releases lists them)", word, conf.App,
		conf.Releases,
	)
}

// releaseAt returns the release that a path leads to.
func releaseAt(conf *config.Config, path string) (name string, isRelease bool) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", false
	}
	dir, err := filepath.EvalSymlinks(conf.Releases)
	return filepath.Base(target), err == nil && filepath.Dir(target) == dir
}

// releaseBelow returns the release that a path means which was typed in another directory: ./r42 or
// releases/r42.
func releaseBelow(conf *config.Config, word string) (name string, isRelease bool) {
	path := filepath.Clean(word)
	if dir := filepath.Dir(path); dir != "." && dir != filepath.Base(conf.Releases) {
		return "", false
	}
	info, err := os.Stat(filepath.Join(conf.Releases, filepath.Base(path)))
	return filepath.Base(path), err == nil && info.IsDir()
}

// ReleaseNames applies ReleaseName to each word.
func ReleaseNames(conf *config.Config, words []string) (names []string, err error) {
	for _, word := range words {
		name, err := ReleaseName(conf, word)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// Release finds a release by a word of the command line; "" means the live release.
func Release(conf *config.Config, word string) (releases.Release, error) {
	store, err := conf.OpenStore()
	if err != nil {
		return releases.Release{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), AskTime)
	defer cancel()
	st, err := control.NewClient(conf.Control, conf.App).Status(ctx)
	var unreachable *control.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return lastRelease(conf, store, word, unreachable)
	case err != nil:
		return releases.Release{}, err
	case word != "":
		return store.Resolve(word, releases.Refs{Live: st.Release, Previous: st.Previous})
	case st.Release == "":
		return releases.Release{}, errors.New("no release is live: choose one with --release")
	}
	return store.Resolve(st.Release, releases.Refs{})
}

// lastRelease finds a release without a daemon. The live release is then the one that was last
// live, else the one that the current link points to. Not every user may read the state file, so an
// unreadable one is treated as missing.
func lastRelease(conf *config.Config, store *releases.Store, word string, unreachable error) (releases.Release, error) {
	last, unread := daemon.ReadLast(conf)
	if word != "" {
		return store.Resolve(word, releases.Refs{Live: last.Release.Name, Previous: last.Previous.Name})
	}
	if last.Release.Path != "" {
		r, err := store.Get(last.Release.Path)
		if moved, errHere := store.Get(filepath.Join(store.Dir, last.Release.Name)); err != nil && errHere == nil {
			return moved, nil
		}
		return r, err
	}
	r, missing := store.CurrentTarget()
	switch {
	case conf.Current == "" && unread == nil:
		return r, fmt.Errorf("no release was live, and %w; choose one with --release", unreachable)
	case conf.Current == "":
		return r, fmt.Errorf("the live release is unknown: %w, and %w; choose one with --release", unread, unreachable)
	case missing != nil:
		return r, fmt.Errorf("the live release is unknown: %w, and %w; choose one with --release", missing, unreachable)
	}
	return r, nil
}
