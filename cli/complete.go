package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/config"
	"superctl/releases"
)

// completeArg asks what may stand where the cursor is: superctl __complete WORD..., with the words
// of a command line after superctl, the last of which is not finished. The scripts in
// packaging/completions do.
const completeArg = "__complete"

// complete prints what the last word may become, one a line; nothing where it is a file or
// anybody's guess.
func (c *command) complete(words []string) {
	if len(words) == 0 {
		return
	}
	t := typed{app: c.app()}
	last := words[len(words)-1]
	for _, candidate := range t.candidates(words[:len(words)-1], last) {
		if strings.HasPrefix(candidate, last) {
			fmt.Fprintln(c.stdout, candidate)
		}
	}
}

// typed is what the words before the cursor say.
type typed struct {
	app                 *cli.App
	cmd                 *cli.Command // nil before there is one
	configFile, appName string
}

func (t *typed) candidates(before []string, last string) []string {
	for i := 0; i < len(before); i++ {
		word := before[i]
		name, value, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case word == "--":
			return nil // another program's
		case !strings.HasPrefix(word, "-"):
			if t.cmd == nil {
				if t.cmd = t.app.Command(word); t.cmd == nil {
					return nil
				}
			}
			continue
		case !joined && t.takesValue(name):
			if i++; i == len(before) {
				return t.values(name)
			}
			value = before[i]
		}
		switch name {
		case "config":
			t.configFile = value
		case "app":
			t.appName = value
		}
	}
	switch {
	case strings.HasPrefix(last, "-"):
		return t.options()
	case t.cmd == nil:
		return commandNames(t.app)
	}
	return t.arguments()
}

func (t *typed) takesValue(name string) bool {
	return name == "app" || name == "config" || t.cmd != nil && takesValue(t.cmd, name)
}

func (t *typed) options() (list []string) {
	flags := t.app.Flags
	if t.cmd != nil {
		flags = slices.Concat(t.cmd.Flags, flags)
	}
	for _, f := range flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				list = append(list, "--"+name)
			}
		}
	}
	return append(list, "--help")
}

func commandNames(app *cli.App) (list []string) {
	for _, c := range app.Commands {
		list = append(list, c.Name)
	}
	return list
}

// values of an option.
func (t *typed) values(option string) []string {
	switch option {
	case "app":
		return config.Apps()
	case "release":
		return t.releases()
	case "process":
		return t.processes()
	}
	return nil
}

// arguments of the command.
func (t *typed) arguments() []string {
	switch t.cmd.Name {
	case "switch", "check", "verify", "pin":
		return append(t.releases(), "latest", "previous")
	case "unpin":
		return t.pinned()
	case "restart", "pause", "resume":
		return t.processes()
	case "signal":
		return append(t.processes(), api.Signals...)
	case "scale":
		list := t.processes()
		for i := range list {
			list[i] += "="
		}
		return list
	case "history":
		return []string{"show"}
	}
	return nil
}

// config of the app that is meant; nil when it cannot be read, because nobody wants to hear of that
// while he types.
func (t *typed) config() *config.Config {
	path, err := config.Find(t.configFile, t.appName, os.Getenv)
	if err != nil {
		return nil
	}
	conf, err := config.Load(path)
	if err != nil {
		return nil
	}
	return conf
}

func (t *typed) releases() (names []string) {
	if store := t.store(); store != nil {
		list, _ := store.List()
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	return names
}

func (t *typed) pinned() []string {
	if store := t.store(); store != nil {
		pins, _ := store.Pins()
		return slices.Sorted(maps.Keys(pins))
	}
	return nil
}

func (t *typed) store() *releases.Store {
	conf := t.config()
	if conf == nil {
		return nil
	}
	store, err := conf.OpenStore()
	if err != nil {
		return nil
	}
	return store
}

func (t *typed) processes() (names []string) {
	if conf := t.config(); conf != nil {
		for i := range conf.Processes {
			names = append(names, conf.Processes[i].Name)
		}
	}
	return names
}
