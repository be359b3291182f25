//go:build linux

package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/config"
)

// releaseName returns the name of a release from a word of the command line, which may end with a
// slash from shell completion or be the path of the release.
func releaseName(conf *config.Config, word string) (string, error) {
	if !strings.Contains(word, "/") {
		return word, nil
	}
	if name := strings.TrimRight(word, "/"); name != "" && !strings.Contains(name, "/") {
		return name, nil
	}
	path, err := filepath.Abs(word)
	if err != nil {
		return "", err
	}
	if filepath.Dir(path) == filepath.Clean(conf.Releases) {
		return filepath.Base(path), nil
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		if dir, err := filepath.EvalSymlinks(conf.Releases); err == nil && filepath.Dir(target) == dir {
			return filepath.Base(target), nil
		}
	}
	return "", commandline.Usagef(
		"%s is not a release: the releases of %s are in %s (superctl releases lists them)", word, conf.App,
		conf.Releases,
	)
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
		"try-restart", "reload-or-restart", "kill":
		return fmt.Sprintf("%q is a command of systemd: systemctl %s %s", word, word, unit)
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
	case "validate", "test", "configtest", "verify-config":
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
