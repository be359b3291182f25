//go:build linux

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/config"
)

// releaseName returns the name of a release from a word of the command line. It may end with a slash
// from shell completion, begin with ./, or be a path of the release, through the current link too.
func releaseName(conf *config.Config, word string) (string, error) {
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

// releaseNames applies releaseName to each word.
func releaseNames(conf *config.Config, words []string) (names []string, err error) {
	for _, word := range words {
		name, err := releaseName(conf, word)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// commandHint returns a hint for a word that is a command of other tools, or "".
func commandHint(word, app string) string {
	unit := "superctl@" + app
	switch word {
	case "start", "stop", "enable", "disable", "mask", "unmask", "edit", "cat", "is-active", "is-enabled", "is-failed",
		"try-restart", "kill", "show":
		return fmt.Sprintf("%q is a command of systemd: systemctl %s %s", word, word, unit)
	case "reload-or-restart", "try-reload-or-restart", "force-reload", "hup":
		return fmt.Sprintf("unknown command %q: superctl reload applies the config, without losing a request", word)
	case "top", "ps", "list-units":
		return fmt.Sprintf("unknown command %q: superctl status --watch shows what runs", word)
	case "reread", "update":
		return fmt.Sprintf(
			"unknown command %q: superctl reload applies the config; superctl upgrade replaces the daemon", word,
		)
	case "daemon-reload", "daemon-reexec":
		return fmt.Sprintf("%q is a command of systemd: systemctl %s", word, word)
	case "journal", "journalctl", "log", "tail":
		return fmt.Sprintf(
			"unknown command %q: superctl logs shows the newest output of the workers, journalctl -u %s all of it", word,
			unit,
		)
	case "promote", "activate", "release", "use":
		return fmt.Sprintf("unknown command %q: superctl switch RELEASE makes a release live", word)
	case "revert", "undo":
		return fmt.Sprintf("unknown command %q: superctl rollback goes back to the previous release", word)
	case "list", "ls":
		return fmt.Sprintf(
			"unknown command %q: superctl releases lists the releases, superctl status shows what runs", word,
		)
	case "run", "shell", "console":
		return fmt.Sprintf("unknown command %q: superctl exec COMMAND runs a command in the live release", word)
	case "validate", "test", "configtest", "verify-config", "doctor":
		return fmt.Sprintf(
			"unknown command %q: superctl check checks the config, the releases and the sockets", word,
		)
	}
	return ""
}

// exampleApp returns the name of the app for use in an example command, or NAME if it is unknown.
func exampleApp(cc *cli.Context) string {
	if path, err := configPath(cc); err == nil {
		if app, _ := config.State(path); app != "" {
			return app
		}
	}
	return "NAME"
}
