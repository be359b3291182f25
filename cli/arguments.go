//go:build linux

package cli

import (
	"fmt"
)

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
	case "abort":
		return fmt.Sprintf("unknown command %q: superctl cancel cancels the change in progress", word)
	case "follow", "wait", "watch":
		return fmt.Sprintf("unknown command %q: superctl attach follows the change in progress", word)
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
