package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// etc is the directory of a machine's configs.
const etc = "/etc/superctl"

// Find finds the config file: --config or SUPERCTL_CONFIG, else --app or SUPERCTL_APP in
// /etc/superctl, else ./superctl.toml, else the only file in /etc/superctl (DESIGN 8). A
// superctl.toml that only says how a project is built is not an app's.
func Find(file, app string, getenv func(string) string) (string, error) {
	return find(file, app, getenv, etc)
}

func find(file, app string, getenv func(string) string, etc string) (string, error) {
	if file == "" && app == "" {
		file, app = getenv("SUPERCTL_CONFIG"), getenv("SUPERCTL_APP")
	}
	if file != "" {
		return file, nil
	}
	if app != "" {
		return filepath.Join(etc, app+".toml"), nil
	}
	const here = "superctl.toml"
	project := isProject(here)
	if _, err := os.Stat(here); err == nil && !project {
		return here, nil
	}
	found, err := filepath.Glob(filepath.Join(etc, "*.toml"))
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if project {
			return "", errors.New(onlyBuild)
		}
		return "", errors.New(noConfig)
	}
	return "", fmt.Errorf("several apps in %s: %s; choose one with --app NAME", etc, strings.Join(appsOf(found), ", "))
}

// PathOf returns the path of an app's config in /etc/superctl.
func PathOf(app string) string { return filepath.Join(etc, app+".toml") }

// CheckName refuses a missing config of an app without a daemon, and a config in /etc/superctl whose
// name is not its app's. It checks nothing else, so that a broken config does not
// prevent requests to the running daemon.
func CheckName(path string) error { return checkName(path, etc) }

func checkName(path, etc string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	named, packaged := nameOf(abs), filepath.Dir(abs) == etc
	if _, err := os.Lstat(abs); errors.Is(err, fs.ErrNotExist) {
		switch {
		case exists(defaultControl(named, os.Getenv)) || exists(defaultState(named, os.Getenv)):
			return nil // its daemon may run without it
		case packaged:
			return noSuchApp(named, etc)
		}
		return missingFile(path)
	}
	if !packaged {
		return nil
	}
	if f := glimpse(abs); f.App != named {
		return &Error{File: path, Msg: otherApp(abs, f.App)}
	}
	return nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".toml") }

// otherApp returns the message for a config whose name is not its app's.
func otherApp(path, app string) string {
	return fmt.Sprintf("%s says app = %q: write app = %q, or rename the file to %s.toml", filepath.Base(path), app,
		nameOf(path), app)
}

func noSuchApp(app, etc string) error {
	found, _ := filepath.Glob(filepath.Join(etc, "*.toml")) // the pattern is valid
	switch apps := appsOf(found); len(apps) {
	case 0:
		return fmt.Errorf("there is no app %q: there is no config in %s", app, etc)
	case 1:
		return fmt.Errorf("there is no app %q; %s exists", app, apps[0])
	default:
		return fmt.Errorf("there is no app %q; %s exist", app, strings.Join(apps, ", "))
	}
}

// Apps returns the names of the apps with a config in /etc/superctl.
func Apps() []string {
	found, _ := filepath.Glob(filepath.Join(etc, "*.toml")) // the pattern is valid
	return appsOf(found)
}

func appsOf(files []string) (apps []string) {
	for _, f := range files {
		apps = append(apps, nameOf(f))
	}
	return apps
}

const noConfig = "there is no config: no ./superctl.toml, and nothing in /etc/superctl: superctl init writes one for the " +
	"project in this directory; --config FILE names another"

const onlyBuild = "there is no config: ./superctl.toml only says how to build the project, and there is nothing in " +
	"/etc/superctl: superctl init writes one for the project in this directory; --config FILE names another"

// isProject reports whether a file only says how a project is built: it has [build], and not the keys
// that each app needs.
func isProject(path string) bool {
	_, data, err := readFile(path)
	if err != nil {
		return false
	}
	var f struct {
		App, Releases any
		Build         map[string]any
	}
	return toml.Unmarshal(withoutBOM(data), &f) == nil && f.Build != nil && f.App == nil && f.Releases == nil
}

// Control returns the control socket of the daemon that was started with the config at path. It
// works for a config that has been broken since, so that the running daemon can be reached.
func Control(path string) string {
	f := glimpse(path)
	return cmp.Or(f.Control, defaultControl(f.App, os.Getenv))
}

// State returns the app of a config and its state directory, as far as possible for a broken
// config.
func State(path string) (app, state string) {
	f := glimpse(path)
	return f.App, cmp.Or(f.State, defaultState(f.App, os.Getenv))
}

// places is what can be read even from a broken config.
type places struct{ App, Control, State string }

func glimpse(path string) places {
	var f places
	_, data, err := readFile(path)
	if err != nil {
		return places{App: nameOf(path)}
	}
	data = withoutBOM(data)
	if toml.Unmarshal(data, &f) == nil && f.App != "" {
		return f
	}
	top, _, _ := bytes.Cut(data, []byte("\n[")) // the mistake may be in a table
	if f = (places{}); toml.Unmarshal(top, &f) == nil && f.App != "" {
		return f
	}
	return places{App: nameOf(path)}
}

// defaultState returns the default state directory of an app.
func defaultState(app string, getenv func(string) string) string {
	if dir := getenv("STATE_DIRECTORY"); dir != "" {
		return first(dir)
	}
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/superctl", app)
	}
	base := getenv("XDG_STATE_HOME")
	if base == "" {
		base = filepath.Join(getenv("HOME"), ".local", "state")
	}
	return filepath.Join(base, "superctl", app)
}

// defaultControl returns the default path of an app's control socket.
func defaultControl(app string, getenv func(string) string) string {
	name := app + ".sock"
	if dir := getenv("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(first(dir), name)
	}
	if os.Geteuid() == 0 {
		return filepath.Join("/run/superctl", name)
	}
	// A command in a shell has none of the unit's variables, but can find the unit's directory.
	if st, err := os.Stat(filepath.Join("/run/superctl", name)); err == nil && st.Mode().Type() == os.ModeSocket {
		return filepath.Join("/run/superctl", name)
	}
	base := getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = filepath.Join(os.TempDir(), fmt.Sprintf("superctl-%d", os.Geteuid()))
	}
	return filepath.Join(base, "superctl", name)
}

// first returns the first of the directories that systemd passes, separated by colons
// (systemd.exec(5)).
func first(dirs string) string {
	dir, _, _ := strings.Cut(dirs, ":")
	return dir
}
