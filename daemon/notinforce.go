package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"superctl/config"
)

// needsRestart returns a message that names the changed keys that need a restart of the daemon, or
// "".
func needsRestart(running, c *config.Config) string {
	var keys []string
	for _, k := range []struct{ name, is, now string }{
		{"releases", running.Releases, c.Releases},
		{"current", running.Current, c.Current},
		{"log", running.Log, c.Log},
		{"control", running.Control, c.Control},
		{"state", running.State, c.State},
		{"group", running.Group, c.Group},
	} {
		if k.is != k.now {
			keys = append(keys, fmt.Sprintf("%s = %q (now in force: %q)", k.name, k.now, k.is))
		}
	}
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf(
		"changed keys need a restart of the daemon: %s: run systemctl restart superctl@%s, which loses no request",
		strings.Join(keys, ", "), running.App,
	)
}

// freeze keeps every release in place until thaw is called. The directory of the releases is that of the
// config that the daemon started with.
func (d *daemon) freeze(ctx context.Context) (thaw func(), err error) {
	thaw, err = d.config.Store().Freeze(ctx)
	if err == nil {
		return thaw, nil
	}
	if now, invalid := config.Load(d.config.Path); invalid == nil && now.Releases != d.config.Releases {
		return nil, fmt.Errorf("%s: releases = %q is not in force: run systemctl restart superctl@%s, which loses no request (%w)",
			now.Path, now.Releases, now.App, err)
	}
	return nil, err
}

// notInForce returns a message about changes of the config that are not in force, or "". sum is the
// checksum of the config text that the live generation was started with.
func (d *daemon) notInForce(sum string) string {
	var texts []string
	if now, err := config.Sum(d.config.Path); err == nil && sum != "" && now != sum {
		texts = append(texts, d.config.Path+" has changed and is not in force: "+d.howToApply())
	}
	if text := d.restart.text(); text != "" {
		texts = append(texts, text)
	}
	if d.keptKinds != "" {
		texts = append(texts, d.keptKinds)
	}
	return strings.Join(texts, "; ")
}

// howToApply returns the command that applies the config as it is on disk.
func (d *daemon) howToApply() string {
	now, err := config.Load(d.config.Path)
	if err != nil { // which may have several lines
		return "it is invalid, and superctl check shows why; correct it, then run superctl reload"
	}
	if l := otherListener(d.config, now); l != "" {
		return fmt.Sprintf("listen.%s needs a restart of the daemon: run systemctl restart superctl@%s to apply it", l, d.config.App)
	}
	return "run superctl reload to apply it"
}

// otherListener returns the name of a listener of c that the running daemon does not have, or has
// at another address, or "".
func otherListener(running, c *config.Config) string {
	for _, l := range c.Listen {
		if !slices.Contains(running.Listen, l) {
			return l.Name
		}
	}
	return ""
}

// unusedListeners returns the names of the listeners that no process uses.
func unusedListeners(c *config.Config) (names []string) {
	for _, l := range c.Listen {
		if !slices.ContainsFunc(c.Processes, func(p config.Process) bool { return slices.Contains(p.Listen, l.Name) }) {
			names = append(names, l.Name)
		}
	}
	return names
}
