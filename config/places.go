package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Place is where an app of this host can be found.
type Place struct {
	App     string
	Config  string // path of its config; "" = its daemon runs with one that is not in /etc/superctl
	Control string // path of its control socket
}

// Places returns the apps of this host by name: those with a config in /etc/superctl, and those with
// a control socket in a directory where daemons put theirs. The error says which directory could not
// be read; the apps of the others are returned.
func Places() ([]Place, error) { return findPlaces(etc, controlDirectories(os.Getenv)) }

func findPlaces(etc string, directories []string) (places []Place, err error) {
	configs, err := namesIn(etc, ".toml")
	for _, name := range configs {
		path := filepath.Join(etc, name+".toml")
		places = append(places, Place{App: name, Config: path, Control: Control(path)})
	}
	known := make(map[string]bool)
	for _, p := range places {
		known[p.Control] = true
	}
	for _, dir := range directories {
		sockets, unreadable := namesIn(dir, ".sock")
		err = errors.Join(err, unreadable)
		for _, name := range sockets {
			path := filepath.Join(dir, name+".sock")
			if st, err := os.Lstat(path); known[path] || err != nil || st.Mode().Type() != fs.ModeSocket {
				continue
			}
			known[path] = true
			places = append(places, Place{App: name, Control: path})
		}
	}
	slices.SortStableFunc(places, func(a, b Place) int { return cmp.Compare(a.App, b.App) })
	return places, err
}

// controlDirectories returns the directories where defaultControl looks for control sockets.
func controlDirectories(getenv func(string) string) (list []string) {
	for _, dir := range []string{filepath.Dir(defaultControl("x", getenv)), "/run/superctl"} {
		if getenv("RUNTIME_DIRECTORY") == "" && !slices.Contains(list, dir) || len(list) == 0 {
			list = append(list, dir)
		}
	}
	return list
}

// namesIn returns the names of the files with a suffix in a directory, without it. A directory that
// does not exist has none.
func namesIn(dir, suffix string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find apps: %w", err)
	}
	for _, e := range entries {
		if name, found := strings.CutSuffix(e.Name(), suffix); found && name != "" && name[0] != '.' {
			names = append(names, name)
		}
	}
	return names, nil
}
