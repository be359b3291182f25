package daemon

import (
	"fmt"
	"slices"
	"strings"

	"superctl/config"
)

// readConfig takes what a change has just read.
func (d *daemon) readConfig(c *config.Config) {
	d.team.Configure(c.Notify)
	text := needsRestart(d.config, c)
	d.restart.Store(&text)
}

// needsRestart says what of a config only another daemon takes up; "" for nothing.
func needsRestart(running, c *config.Config) string {
	var keys []string
	for _, k := range []struct{ name, is, now string }{
		{"log", running.Log, c.Log}, {
			"control", running.Control, c.Control,
		}, {"state", running.State, c.State}, {"group", running.Group, c.Group},
	} {
		if k.is != k.now {
			keys = append(keys, fmt.Sprintf("%s = %q (it runs with %q)", k.name, k.now, k.is))
		}
	}
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf(
		"%s needs a restart of the daemon, which loses no request: systemctl restart superctl@%s",
		strings.Join(keys, ", "), running.App,
	)
}

// notInForce says what of the config file is not in force, when the live generation was made from
// the text with that sum.
func (d *daemon) notInForce(sum string) string {
	var texts []string
	if now, err := config.Sum(d.config.Path); err == nil && sum != "" && now != sum {
		texts = append(texts, d.config.Path+" is not what the live release runs with: superctl reload takes it up")
	}
	if text := d.restart.Load(); text != nil && *text != "" {
		texts = append(texts, *text)
	}
	if d.keptKinds != "" {
		texts = append(texts, d.keptKinds)
	}
	return strings.Join(texts, "; ")
}

// unusedListeners names those that no process of the config accepts from.
func unusedListeners(c *config.Config) (names []string) {
	for _, l := range c.Listen {
		if !slices.ContainsFunc(c.Processes, func(p config.Process) bool { return slices.Contains(p.Listen, l.Name) }) {
			names = append(names, l.Name)
		}
	}
	return names
}
