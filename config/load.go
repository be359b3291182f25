package config

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/socket"
)

// The defaults of DESIGN 8.
const (
	defaultKeep           = 5
	defaultProbation      = 10 * time.Second
	defaultSettle         = 5 * time.Second
	defaultDrain          = 30 * time.Second
	defaultStartTimeout   = 60 * time.Second
	defaultReadyAfter     = time.Second
	defaultHookTime       = 10 * time.Minute
	defaultHold           = 10 * time.Second
	defaultBacklog        = 2048
	defaultTimeout        = 5 * time.Second
	defaultInterval       = 250 * time.Millisecond
	defaultHealthyAfter   = 3
	defaultAlwaysInterval = 10 * time.Second
	defaultFailures       = 3
	defaultUnhealthy      = 10 * time.Second
	defaultExecInterval   = 2 * time.Second // a command starts an interpreter
	maxInstances          = 1000
	maxDuration           = 30 * 24 * time.Hour
)

var (
	appName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	itemName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// maxName is the maximum length in bytes of an app's name and of other names in a config. It is not
// part of the patterns, because they are compiled at the start of every command and worker, and a
// repetition count is compiled to as many copies.
const maxName = 32

func isAppName(name string) bool { return len(name) <= maxName && appName.MatchString(name) }

// isItemName reports whether name is a valid name of a process, listener or target.
func isItemName(name string) bool { return len(name) <= maxName && itemName.MatchString(name) }

// Load reads a config file. Its error has all problems of the file, an *Error each.
func Load(path string) (*Config, error) {
	abs, data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, abs, data, os.Geteuid())
}

// LoadForClient is Load for a command that starts none of the app's workers: the config may name a
// user that only the app's daemon can become.
func LoadForClient(path string) (*Config, error) {
	abs, data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, abs, data, 0)
}

// readFile reads a config file; abs is its absolute path.
func readFile(path string) (abs string, data []byte, err error) {
	if abs, err = filepath.Abs(path); err != nil {
		return "", nil, err
	}
	data, err = readRegular(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, missingFile(path)
	case err != nil:
		return "", nil, &Error{File: path, Msg: err.Error()}
	}
	return abs, data, nil
}

func missingFile(path string) error { return &Error{File: path, Msg: "there is no such config file"} }

func parse(path, abs string, data []byte, euid int) (*Config, error) {
	l := &loader{values: values{problems{file: path}}, c: &Config{Path: abs, Text: data, Sum: sum(data)}, euid: euid}
	data = withoutBOM(data)
	l.read(data)
	l.decode(data, &l.f)
	if len(l.list) > 0 {
		return nil, l.err()
	}
	l.top()
	l.listeners()
	l.processes()
	l.hooks()
	l.c.Crons = l.crons()
	l.django()
	l.c.Secrets = l.secrets()
	l.build() // for superctl build; a daemon only checks it
	l.notify()
	l.c.Env = l.environment()
	l.c.Inherit = l.inherit()
	l.c.Warnings = append(l.c.Warnings, l.c.Ignored...)
	l.c.Shared = l.shared()
	l.c.Assets = l.assets()
	l.c.Install = l.install()
	l.empties()
	if len(l.list) > 0 {
		return nil, l.err()
	}
	return l.c, nil
}

// loader converts a file to a Config and records the errors.
type loader struct {
	values
	f    file
	c    *Config
	euid int
}

func (l *loader) top() {
	c, f := l.c, &l.f
	c.App = f.App
	switch {
	case f.App == "":
		l.at("", `app is missing: write app = "shop" at the top`)
	case !isAppName(f.App):
		l.at("app", "app %q: use lowercase letters, digits, - and _, at most 32", f.App)
	case filepath.Dir(c.Path) == etc && f.App != nameOf(c.Path):
		l.at("app", "%s", otherApp(c.Path, f.App))
	}
	if f.Releases == "" {
		l.at("",
			`releases is missing: write releases = "/srv/%s/releases", the directory that has a directory for each `+
				`release`, cmp.Or(f.App, "shop"))
	}
	c.Releases = l.path("releases", f.Releases)
	c.Current = l.path("current", f.Current)
	c.Log = l.path("log", f.Log)
	c.State = cmp.Or(l.path("state", f.State), defaultState(f.App, os.Getenv))
	c.Control = cmp.Or(l.path("control", f.Control), defaultControl(f.App, os.Getenv))
	// The socket for READY=1 of workers is in the same directory.
	notify := filepath.Join(filepath.Dir(c.Control), c.App+".notify")
	limit := len(unix.RawSockaddrUnix{}.Path) - 1
	if n := max(len(c.Control), len(notify)); n > limit {
		l.at("control",
			"control %q is too long: the sockets in its directory have paths of %d bytes, and the kernel's limit is %d",
			c.Control, n, limit)
	}
	c.Keep = int(l.number("keep", f.Keep, defaultKeep, 1, 10_000))
	c.Probation = l.duration("probation", f.Probation, defaultProbation, 0)
	c.Standby = l.duration("standby", f.Standby, 0, 0)
	c.Settle = l.duration("settle", f.Settle, defaultSettle, 0)
	c.Virtualenv = f.Virtualenv == nil || *f.Virtualenv
	c.User = l.user("user", f.User, f.Group)
	c.Group = f.Group
	if f.User == "" && f.Group != "" {
		l.group("group", f.Group) // for the control socket only
	}
}

func (l *loader) listeners() {
	for _, name := range slices.Sorted(maps.Keys(l.f.Listen)) {
		t, key := l.f.Listen[name], "listen."+name
		if !isItemName(name) {
			l.at(key, "listener %q: use letters, digits, - and _, at most 32", name)
		}
		li := Listen{Name: name, Owner: t.Owner, Group: t.Group, Gate: t.Gate}
		li.Backlog = int(l.number(key+".backlog", t.Backlog, defaultBacklog, 1, 65535))
		if t.Address == "" {
			l.at(key, `listen.%s has no address: write address = "127.0.0.1:8000"`, name)
		} else if a, err := socket.ParseAddress(t.Address); err != nil {
			l.at(key+".address", "%v", err)
		} else {
			li.Address = a
		}
		isUnix := strings.HasPrefix(t.Address, "unix:")
		if !slices.Contains([]string{"", "auto", "steer", "rename", "shared"}, t.Gate) {
			l.at(key+".gate", `gate %q: write "auto" or "shared", or leave it out`, t.Gate)
		}
		for k, v := range map[string]string{"mode": t.Mode, "owner": t.Owner, "group": t.Group} {
			if v != "" && !isUnix {
				l.at(key+"."+k, "%s is for unix sockets only", k)
			}
		}
		li.Mode = l.mode(key+".mode", t.Mode)
		l.owner(key, t.Owner, t.Group)
		l.c.Listen = append(l.c.Listen, li)
	}
	l.overlaps()
}

// overlaps refuses a listener that would get the connections of another, or of the control socket.
func (l *loader) overlaps() {
	for i, a := range l.c.Listen {
		key := "listen." + a.Name + ".address"
		if path := a.Address.Path(); path != "" && path == l.c.Control {
			l.at(key, "%q is the control socket of superctl: choose another path", a.Address)
		}
		for _, b := range l.c.Listen[:i] {
			switch {
			case a.Address.String() == "":
			case a.Address.String() == b.Address.String():
				l.at(key, "listen.%s has the same address: one listener is enough for both names", b.Name)
			case a.Address.Same(b.Address):
				l.at(key, "listen.%s has the same address as listen.%s, which is written %q: one listener is enough for both "+
					"names", a.Name, b.Name, b.Address)
			case a.Address.Overlaps(b.Address):
				both := ""
				for _, wide := range []string{a.Address.String(), b.Address.String()} {
					if strings.HasPrefix(wide, "[::]:") {
						both = fmt.Sprintf(" (%q serves IPv4 too)", wide)
					}
				}
				l.at(key, "%q overlaps listen.%s, %q, and would get its connections: leave one out%s, or choose another port",
					a.Address, b.Name, b.Address, both)
			}
		}
	}
}

func (l *loader) hooks() {
	f := &l.f.Hooks
	once := make(map[string][]int)
	l.c.Hooks = Hooks{
		Before:         l.hookList("before", f.Before, once),
		After:          l.hookList("after", f.After, once),
		OnAbort:        l.hookList("on_abort", f.OnAbort, once),
		OnRevert:       l.hookList("on_revert", f.OnRevert, once),
		Once:           once,
		BeforeRollback: f.BeforeRollback,
		Timeout:        l.duration("hooks.timeout", f.Timeout, defaultHookTime, time.Second),
	}
	if f.BeforeRollback && len(l.c.Hooks.Before) == 0 {
		l.at("hooks.before_rollback",
			"before_rollback = true: there is no before hook that could run; write before, or leave it out")
	}
}

// hookList parses a list of hooks, and adds the positions of those with once = true. A hook is a
// command, or a table: { run = "python manage.py migrate", once = true }.
func (l *loader) hookList(name string, v any, once map[string][]int) [][]string {
	key := "hooks." + name
	if one, ok := v.(map[string]any); ok {
		v = []any{one}
	}
	list, ok := v.([]any)
	if !ok {
		return l.commands(key, v)
	}
	commands := make([]any, len(list))
	for i, hook := range list {
		table, ok := hook.(map[string]any)
		if !ok {
			commands[i] = hook
			continue
		}
		commands[i] = table["run"]
		isOnce, isBool := table["once"].(bool)
		for known := range table {
			if known != "run" && known != "once" {
				l.at(key, "%s: unknown key %q: a hook has run and once", key, known)
			}
		}
		switch {
		case table["run"] == nil:
			l.at(key, `%s: a hook has no command: write { run = "python manage.py migrate", once = true }`, key)
		case table["once"] != nil && !isBool:
			l.at(key, "%s: once is true or false", key)
		case isOnce:
			once[name] = append(once[name], i)
		}
	}
	return l.commands(key, commands)
}

// Sum returns the hash of a config file's current text, like Config.Sum.
func Sum(path string) (string, error) {
	_, data, err := readFile(path)
	return sum(data), err
}

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// Parse parses the text of a config; path is, or was, its file.
func Parse(path string, data []byte) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return parse(path, abs, data, os.Geteuid())
}
