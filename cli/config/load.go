package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"golang.org/x/sys/unix"

	"superctl/socket"
	"superctl/supervisor/health"
	"superctl/supervisor/preset"
)

// fileLimit is the largest config file that is read.
const fileLimit = 1 << 20

// Defaults of DESIGN 8, in the units of the file.
const (
	defaultKeep         = 5
	defaultProbation    = 10 * time.Second
	defaultSettle       = 5 * time.Second
	defaultDrain        = 30 * time.Second
	defaultStartTimeout = 60 * time.Second
	defaultReadyAfter   = time.Second
	defaultHookTime     = 10 * time.Minute
	defaultHold         = 10 * time.Second
	defaultBacklog      = 2048
	defaultTimeout      = 5 * time.Second
	defaultInterval     = 250 * time.Millisecond
	defaultHealthyAfter = 3
	mostInstances       = 1000
	longest             = 30 * 24 * time.Hour
)

var (
	appName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	itemName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Load reads a config file. Its error is all that is wrong with it, an *Error each.
func Load(path string) (*Config, error) {
	abs, data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, abs, data, os.Geteuid())
}

// readFile reads a config file, whose whole path is abs.
func readFile(path string) (abs string, data []byte, err error) {
	if abs, err = filepath.Abs(path); err != nil {
		return "", nil, err
	}
	st, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, &Error{File: path, Msg: "there is no such config file"}
	case err != nil:
		return "", nil, &Error{File: path, Msg: err.Error()}
	case !st.Mode().IsRegular():
		return "", nil, &Error{File: path, Msg: "it is not a file"}
	case st.Size() > fileLimit:
		return "", nil, &Error{File: path, Msg: fmt.Sprintf("it has %d bytes; no config is larger than %d", st.Size(), fileLimit)}
	}
	if data, err = os.ReadFile(abs); err != nil {
		return "", nil, &Error{File: path, Msg: err.Error()}
	}
	return abs, data, nil
}

func parse(path, abs string, data []byte, euid int) (*Config, error) {
	l := &loader{problems: problems{file: path}, c: &Config{Path: abs}, euid: euid}
	l.read(data)
	l.decode(data, &l.f)
	if len(l.list) > 0 {
		return nil, l.err()
	}
	l.top()
	l.listeners()
	l.processes()
	l.hooks()
	l.django()
	l.build() // for superctl build; a daemon only looks whether it is right
	l.notify()
	l.c.Env = l.environment()
	l.c.Shared = l.shared()
	l.c.Install = l.install()
	if len(l.list) > 0 {
		return nil, l.err()
	}
	return l.c, nil
}

// loader turns a file into a Config and notes what cannot be.
type loader struct {
	problems
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
	case !appName.MatchString(f.App):
		l.at("app", "app %q: use small letters, digits, - and _, at most 32", f.App)
	}
	if f.Releases == "" {
		l.at("", `releases is missing: write releases = "/srv/%s/releases", the directory that has a directory for each release`, cmp.Or(f.App, "shop"))
	}
	c.Releases = l.path("releases", f.Releases)
	c.Current = l.path("current", f.Current)
	c.Log = l.path("log", f.Log)
	c.State = cmp.Or(l.path("state", f.State), defaultState(f.App, os.Getenv))
	c.Control = cmp.Or(l.path("control", f.Control), defaultControl(f.App, os.Getenv))
	if limit := len(unix.RawSockaddrUnix{}.Path) - 1; len(c.Control) > limit {
		l.at("control", "control %q has %d bytes; the kernel's limit for the path of a socket is %d", c.Control, len(c.Control), limit)
	}
	c.Keep = int(l.number("keep", f.Keep, defaultKeep, 1, 10_000))
	c.Probation = l.duration("probation", f.Probation, defaultProbation, 0)
	c.Standby = l.duration("standby", f.Standby, 0, 0)
	c.Settle = l.duration("settle", f.Settle, defaultSettle, 0)
	c.Virtualenv = f.Virtualenv == nil || *f.Virtualenv
	c.User = l.user("user", f.User, f.Group)
	c.Group = f.Group
	if f.User == "" && f.Group != "" {
		l.group("group", f.Group) // of the control socket alone
	}
}

// path accepts an absolute path.
func (l *loader) path(key, path string) string {
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		l.at(key, "%s %q: write the whole path, from /", key, path)
		return ""
	}
	return filepath.Clean(path)
}

func (l *loader) number(key string, v *int64, otherwise, least, most int64) int64 {
	if v == nil {
		return otherwise
	}
	if *v < least || *v > most {
		l.at(key, "%s = %d: it must be from %d to %d", last(key), *v, least, most)
	}
	return *v
}

// leastMemory is what a Python interpreter needs to start at all.
const leastMemory = 16 << 20

// size reads an amount of memory, with the suffixes of systemd's MemoryMax=: K, M and G to the base of 1024.
func (l *loader) size(key string, v any) uint64 {
	var n uint64
	switch v := v.(type) {
	case nil:
		return 0
	case int64:
		n = uint64(max(v, 0))
	case string:
		number, shift := v, 0
		if v != "" {
			if at := strings.IndexByte("KMG", v[len(v)-1]); at >= 0 {
				number, shift = v[:len(v)-1], 10*(at+1)
			}
		}
		parsed, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if err != nil || parsed > 1<<62>>shift {
			l.at(key, `%s = %q: write an amount of memory such as "512M" or "2G"`, last(key), v)
			return 0
		}
		n = parsed << shift
	default:
		l.at(key, `%s: write an amount of memory such as "512M" or "2G"`, last(key))
		return 0
	}
	if n < leastMemory {
		l.at(key, "%s = %v: it must be at least %dM", last(key), v, leastMemory>>20)
	}
	return n
}

func (l *loader) duration(key string, v *duration, otherwise, least time.Duration) time.Duration {
	if v == nil {
		return otherwise
	}
	d, err := time.ParseDuration(string(*v))
	switch {
	case err != nil && isNumber(string(*v)):
		l.at(key, "%s = %q: it needs a unit, such as %q", last(key), *v, *v+"s")
	case err != nil:
		l.at(key, `%s = %q is no duration: write "10s", "5m" or "1m30s"`, last(key), *v)
	case d < least && least > 0:
		l.at(key, "%s = %q is too short: it must be at least %s", last(key), *v, least)
	case d < 0:
		l.at(key, "%s = %q: it cannot be negative", last(key), *v)
	case d > longest:
		l.at(key, "%s = %q: it cannot be longer than 720h (30 days)", last(key), *v)
	}
	return d
}

func isNumber(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil }

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

func (l *loader) listeners() {
	for _, name := range slices.Sorted(maps.Keys(l.f.Listen)) {
		t, key := l.f.Listen[name], "listen."+name
		if !itemName.MatchString(name) {
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
	for i, a := range l.c.Listen {
		for _, b := range l.c.Listen[:i] {
			if l.f.Listen[a.Name].Address == l.f.Listen[b.Name].Address && l.f.Listen[a.Name].Address != "" {
				l.at("listen."+a.Name+".address", "listen.%s has the same address: one listener is enough for both names", b.Name)
			}
		}
	}
}

func (l *loader) mode(key, text string) fs.FileMode {
	if text == "" {
		return 0
	}
	m, err := strconv.ParseUint(text, 8, 32)
	if err != nil || m == 0 || m > 0o777 {
		l.at(key, `mode %q: write it in octal, such as "0660"`, text)
	}
	return fs.FileMode(m)
}

func (l *loader) processes() {
	if len(l.f.Process) == 0 {
		l.at("", "no process is configured: write a table [process.web] with a command")
	}
	taken := make(map[string]string)
	for _, name := range l.inOrder(slices.Collect(maps.Keys(l.f.Process))) {
		p := l.process(name, l.f.Process[name])
		for _, li := range p.Listen {
			other, ok := taken[li]
			switch {
			case other == name:
				l.at("process."+name+".listen", "listener %q is in the list twice", li)
			case ok:
				l.at("process."+name+".listen", "listener %q belongs to process.%s already: each process needs a listener of its own", li, other)
			}
			taken[li] = name
		}
		l.c.Processes = append(l.c.Processes, p)
	}
	l.together()
	l.c.Processes = l.ordered(l.c.Processes)
	for _, li := range l.c.Listen {
		if taken[li.Name] == "" {
			l.c.Warnings = append(l.c.Warnings, fmt.Sprintf("listener %q is not used: no process has it in its listen", li.Name))
		}
	}
}

// inOrder sorts the names of processes as they stand in the file: that is the order in which they start.
func (l *loader) inOrder(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(l.lineOf("process."+a), l.lineOf("process."+b)), cmp.Compare(a, b))
	})
	return names
}

func (l *loader) lineOf(table string) int {
	first := 1 << 30
	for key, pos := range l.where {
		if (key == table || strings.HasPrefix(key, table+".")) && pos.line < first {
			first = pos.line
		}
	}
	return first
}

func (l *loader) process(name string, t processTable) Process {
	key := "process." + name
	if !itemName.MatchString(name) {
		l.at(key, "process %q: use letters, digits, - and _, at most 32", name)
	}
	p := Process{Name: name, Listen: t.Listen, After: t.After, Notify: t.Notify, Server: t.Server}
	p.Command = l.command(key, t.Command)
	for _, li := range t.Listen {
		if _, ok := l.f.Listen[li]; !ok {
			l.at(key+".listen", "there is no listener %q: write a table [listen.%s] with an address", li, li)
		}
	}
	p.Instances = int(l.number(key+".instances", t.Instances, 1, 1, mostInstances))
	l.strategy(key, t, &p)
	p.Drain = l.duration(key+".drain", t.Drain, defaultDrain, time.Second)
	l.drainConnections(key, t, &p)
	l.drainHook(key, t, &p)
	p.StartTimeout = l.duration(key+".start_timeout", t.StartTimeout, defaultStartTimeout, time.Second)
	p.ReadyAfter = l.duration(key+".ready_after", t.ReadyAfter, defaultReadyAfter, 0)
	if t.StopSignal != "" {
		sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(t.StopSignal), "SIG"))
		if sig == 0 || sig == unix.SIGKILL || sig == unix.SIGSTOP {
			l.at(key+".stop_signal", `stop_signal %q: write the name of a signal that a program can heed, such as "TERM" or "QUIT"`, t.StopSignal)
		}
		p.StopSignal = int(sig)
	}
	if t.Server != "" && !slices.Contains(preset.Servers(), t.Server) {
		l.at(key+".server", "server %q is not known: %s, or leave it out", t.Server, strings.Join(preset.Servers(), ", "))
	}
	switch {
	case t.User == "" && t.Group != "" && l.f.User == "":
		l.at(key+".group", "group = %q: it needs a user, here or at the top", t.Group)
	case t.User == "" && t.Group != "":
		p.User = l.user(key+".group", l.f.User, t.Group)
	default:
		p.User = l.user(key+".user", t.User, t.Group)
	}
	p.NoFile = uint64(l.number(key+".nofile", t.NoFile, 0, 16, 1<<20))
	p.MemoryMax = l.size(key+".memory_max", t.MemoryMax)
	p.CPUWeight = uint64(l.number(key+".cpu_weight", t.CPUWeight, 0, 1, 10_000))
	p.Env = l.variables(key+".env", t.Env, FromProcess)
	p.Health = l.health(key, t)
	return p
}

func (l *loader) command(key string, v any) []string {
	if v == nil {
		l.at(key, `%s has no command: write command = "gunicorn shop.wsgi"`, key)
		return nil
	}
	return l.words(key+".command", "command", v)
}

// words reads a command: a string that is split as a shell would, or a list of words. what is its name in messages.
func (l *loader) words(key, what string, v any) []string {
	switch v := v.(type) {
	case string:
		words, err := shellquote.Split(v)
		switch {
		case errors.Is(err, shellquote.UnterminatedEscapeError):
			l.at(key, "%s: it ends with a backslash, which has nothing to quote", what)
		case err != nil:
			l.at(key, "%s: a quote is not closed", what)
		case len(words) == 0 || words[0] == "":
			l.at(key, "%s: it is empty", what)
		case ShellSyntax(words) != "":
			l.at(key, "%s: %s is for a shell, and none runs it: write [\"sh\", \"-c\", \"...\"] (or two commands)", what, ShellSyntax(words))
		}
		return words
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			word, ok := w.(string)
			if !ok {
				l.at(key, "%s: each word must be a string, and %#v is not", what, w)
			}
			words[i] = word
		}
		if len(v) == 0 || v[0] == "" {
			l.at(key, "%s: it is empty", what)
		}
		return words
	default:
		l.at(key, "%s must be a string of shell words, or a list of words", what)
	}
	return nil
}

func (l *loader) health(key string, t processTable) *health.Check {
	if len(t.Listen) == 0 {
		if t.Health != nil {
			l.at(key+".health", "%s has no listener that could be asked for its health: take the table out, or give it listen", key)
		}
		return nil
	}
	h := cmp.Or(t.Health, &healthTable{})
	key += ".health"
	c := &health.Check{Host: h.Host, Contains: h.Contains, Protocol: h.Protocol, Path: "/", AnyAnswer: true}
	if h.Path != nil {
		c.Path, c.AnyAnswer = *h.Path, false
		if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, " \r\n") {
			l.at(key+".path", `path %q: write it from /, such as "/healthz/"`, c.Path)
		}
	}
	if strings.ContainsAny(h.Host, " \r\n") {
		l.at(key+".host", "host %q: it cannot have blanks", h.Host)
	}
	if !slices.Contains([]string{"", "http", "uwsgi"}, h.Protocol) {
		l.at(key+".protocol", `protocol %q: "http" or "uwsgi"`, h.Protocol)
	}
	c.Status = l.statuses(key+".status", h.Status)
	c.Timeout = l.duration(key+".timeout", h.Timeout, defaultTimeout, 10*time.Millisecond)
	c.Interval = l.duration(key+".interval", h.Interval, defaultInterval, 10*time.Millisecond)
	c.HealthyAfter = int(l.number(key+".healthy_after", h.HealthyAfter, defaultHealthyAfter, 1, 1000))
	return c
}

func (l *loader) statuses(key string, v any) []int {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	var out []int
	for _, s := range list {
		n, ok := s.(int64)
		if !ok || n < 100 || n > 599 {
			l.at(key, "status %#v: write a number from 100 to 599, or a list of them", s)
		}
		out = append(out, int(n))
	}
	return out
}

func (l *loader) hooks() {
	f := &l.f.Hooks
	l.c.Hooks = Hooks{
		Before:         l.commands("hooks.before", f.Before),
		After:          l.commands("hooks.after", f.After),
		OnAbort:        l.commands("hooks.on_abort", f.OnAbort),
		OnRevert:       l.commands("hooks.on_revert", f.OnRevert),
		BeforeRollback: f.BeforeRollback,
		Timeout:        l.duration("hooks.timeout", f.Timeout, defaultHookTime, time.Second),
	}
	if f.BeforeRollback && len(l.c.Hooks.Before) == 0 {
		l.at("hooks.before_rollback", "before_rollback = true: there is no before hook that could run; write before, or leave it out")
	}
}

// commands reads one command or a list of them.
func (l *loader) commands(key string, v any) [][]string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return [][]string{l.words(key, key, v)}
	case []any:
		list := make([][]string, len(v))
		for i, one := range v {
			list[i] = l.words(key, key, one)
		}
		return list
	}
	l.at(key, `%s: a list of commands is expected: ["python manage.py migrate"]`, key)
	return nil
}

// Parse reads the text of a config whose file is, or was, at path.
func Parse(path string, data []byte) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return parse(path, abs, data, os.Geteuid())
}
