//go:build linux

package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/commandline"
	"superctl/cli/fleetcommand"
	"superctl/config"
	"superctl/releases"
)

// completeArg is the hidden command of shell completion: superctl __complete WORD..., with the
// words of the command line after superctl, the last of them unfinished. The scripts in
// packaging/completions run it.
const completeArg = "__complete"

// complete prints the candidates for the last word, one per line. It prints nothing where a file or
// free text is expected.
func (c *command) complete(words []string) {
	if len(words) == 0 {
		return
	}
	t := completion{app: c.app()}
	last, before := words[len(words)-1], words[:len(words)-1]
	if target, rest, found := fleetcommand.TargetOf(append([]string{"superctl"}, before...)); found {
		t.app, t.fleet, before = fleetcommand.App(target, fleetcommand.Options{}), &target, rest[1:]
	}
	for _, candidate := range t.candidates(before, last) {
		if strings.HasPrefix(candidate, last) {
			fmt.Fprintln(c.Stdout, candidate)
		}
	}
}

// completion is the parsed command line before the cursor.
type completion struct {
	app                 *cli.App
	cmd                 *cli.Command // nil if no command is complete yet
	fleet               *fleetcommand.Target
	configFile, appName string
}

// candidates returns the words that may be in the place of last, after the words before it.
func (t *completion) candidates(before []string, last string) []string {
	option, known := t.parse(before)
	switch {
	case !known:
		return nil
	case option != "":
		return t.values(option)
	case strings.HasPrefix(last, "-"):
		return t.options()
	case t.cmd == nil && t.fleet == nil:
		return append(commandNames(t.app), fleetcommand.Words(last, t.configFile)...)
	case t.cmd == nil:
		return commandNames(t.app)
	case t.fleet != nil:
		return nil // a file, or the name of a release on other hosts
	}
	return t.arguments()
}

// parse reads the words before the cursor. It returns the option whose value is at the cursor, or "".
// It reports false if what follows is not known: the words of another program, or of no command.
func (t *completion) parse(words []string) (option string, known bool) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		name, value, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case word == "--":
			return "", false
		case !strings.HasPrefix(word, "-"):
			if t.cmd == nil {
				if t.cmd = t.app.Command(word); t.cmd == nil {
					return "", false
				}
			}
			continue
		case !joined && t.takesValue(name):
			if i++; i == len(words) {
				return name, true
			}
			value = words[i]
		}
		switch name {
		case "config":
			t.configFile = value
		case "app":
			t.appName = value
		}
	}
	return "", true
}

func (t *completion) takesValue(name string) bool {
	return name == "app" || name == "config" || t.cmd != nil && commandline.TakesValue(t.cmd, name)
}

func (t *completion) options() (list []string) {
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

// values returns the candidates for the value of an option.
func (t *completion) values(option string) []string {
	switch option {
	case "without":
		return t.fleet.Hosts(t.configFile)
	case "app":
		return config.Apps()
	case "release":
		return t.releases()
	case "process":
		return t.processes()
	}
	return nil
}

// crons returns the names of the scheduled commands.
func (t *completion) crons() (names []string) {
	if conf := t.config(); conf != nil {
		for i := range conf.Crons {
			names = append(names, conf.Crons[i].Name)
		}
	}
	return names
}

// arguments returns the candidates for an argument of the command.
func (t *completion) arguments() []string {
	switch t.cmd.Name {
	case "help":
		return commandNames(t.app)
	case "switch", "check", "verify", "pin":
		return append(t.releases(), "latest", "previous")
	case "unpin":
		return t.pinned()
	case "restart", "pause", "resume":
		return t.processes()
	case "cron":
		return append([]string{"run"}, t.crons()...)
	case "signal":
		return append(t.processes(), api.Signals...)
	case "scale":
		list := t.processes()
		for i := range list {
			list[i] += "="
		}
		return list
	case "maintenance":
		return []string{"on", "off"}
	case "history":
		return []string{"show"}
	}
	return nil
}

// config returns the config of the app, or nil if it cannot be read: completion shows no errors.
func (t *completion) config() *config.Config {
	path, err := config.Find(t.configFile, t.appName, os.Getenv)
	if err != nil {
		return nil
	}
	conf, err := config.LoadForClient(path)
	if err != nil {
		return nil
	}
	return conf
}

func (t *completion) releases() (names []string) {
	if store := t.store(); store != nil {
		list, _ := store.List()
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	return names
}

func (t *completion) pinned() []string {
	if store := t.store(); store != nil {
		pins, _ := store.Pins()
		return slices.Sorted(maps.Keys(pins))
	}
	return nil
}

func (t *completion) store() *releases.Store {
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

func (t *completion) processes() (names []string) {
	if conf := t.config(); conf != nil {
		for i := range conf.Processes {
			names = append(names, conf.Processes[i].Name)
		}
	}
	return names
}
