package daemon

import (
	"cmp"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/releases"
	"superctl/supervisor/worker"
)

// The sources of variables that the operator does not set.
const (
	fromSuperctl = "superctl"
	fromRelease  = "release"
)

// Environ is the environment of a program of a release, with the source of each variable.
type Environ []config.Variable

// environment builds the environment of a program (DESIGN 5). It inherits only the time zone, the
// language and the variables that the config names. A variable of the process (own) overrides one
// of the config, and that overrides one of the release. dir is the directory with the unit's
// credentials for the program's user, or "".
func environment(c *config.Config, r releases.Release, u *config.User, dir string, own []config.Variable) Environ {
	name, home := "root", "/root"
	if u != nil {
		name, home = u.Name, u.Home
	} else if me, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		name, home = me.Username, me.HomeDir
	}
	var env Environ
	env.set(fromSuperctl, "HOME", home)
	env.set(fromSuperctl, "USER", name)
	env.set(fromSuperctl, "LOGNAME", name)
	env.set(fromSuperctl, "LANG", cmp.Or(os.Getenv("LANG"), "C.UTF-8"))
	if tz := os.Getenv("TZ"); tz != "" {
		env.set(fromSuperctl, "TZ", tz)
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if venv := r.Virtualenv(); venv != "" && c.Virtualenv {
		env.set(fromSuperctl, "VIRTUAL_ENV", venv)
		path = filepath.Join(venv, "bin") + ":" + path
	}
	env.set(fromSuperctl, "PATH", path)
	if dir != "" {
		env.set(fromSuperctl, credentials.Variable, dir)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		env.set(fromRelease, name, r.Env[name])
	}
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); c.Inherited(name) {
			env.set(config.FromDaemon, name, value)
		}
	}
	for _, v := range slices.Concat(c.Env, own) {
		if v.Template {
			v = ofRelease(v, r)
		}
		env.put(v)
	}
	return env
}

// ofRelease expands the placeholders {release} and {commit} of a variable. If it has no others, it
// is not a template any more.
func ofRelease(v config.Variable, r releases.Release) config.Variable {
	expanded, unknown := worker.Expand(v.Value, func(name string) (string, bool) {
		value, known := map[string]string{"release": r.Name, "commit": r.Commit}[name]
		return value, known
	})
	if unknown == "" {
		v.Value, v.Template = expanded, false
	}
	return v
}

func (e *Environ) set(from, name, value string) {
	e.put(config.Variable{Name: name, Value: value, From: from})
}

// put adds a variable or replaces the one of the same name.
func (e *Environ) put(v config.Variable) {
	if i := slices.IndexFunc(*e, func(o config.Variable) bool { return o.Name == v.Name }); i >= 0 {
		(*e)[i] = v
		return
	}
	*e = append(*e, v)
}

// List returns NAME=VALUE of the variables with the same value for every program of the release,
// without credentials. Hooks and commands get these: variables with a placeholder for workers, such
// as {generation}, are not set for them.
func (e Environ) List() []string {
	return e.having(func(v config.Variable) bool { return v.Credential == "" && v.File == "" && !v.Template })
}

// templates returns NAME=VALUE of the variables whose value differs between workers.
func (e Environ) templates() []string {
	return e.having(func(v config.Variable) bool { return v.Template })
}

func (e Environ) having(match func(config.Variable) bool) []string {
	list := make([]string, 0, len(e))
	for _, v := range e {
		if match(v) {
			list = append(list, v.Name+"="+v.Value)
		}
	}
	return list
}

// Secrets returns the files with the values of the variables from credentials and secrets.command.
// Without the unit's credentials, variables from credentials are not set.
func (e Environ) Secrets() worker.Secrets {
	dir := e.credentials()
	var secrets worker.Secrets
	for _, v := range e {
		path := v.File
		if v.Credential != "" && dir != "" {
			path = filepath.Join(dir, v.Credential)
		}
		if path == "" {
			continue
		}
		if secrets == nil {
			secrets = make(worker.Secrets)
		}
		secrets[v.Name] = path
	}
	return secrets
}

// credentials returns the directory of the unit's credentials, or "".
func (e Environ) credentials() string {
	for _, v := range e {
		if v.Name == credentials.Variable {
			return v.Value
		}
	}
	return ""
}

// origins returns the source of each variable.
func (e Environ) origins() map[string]string {
	from := make(map[string]string, len(e))
	for _, v := range e {
		from[v.Name] = v.From
	}
	return from
}

// merge joins lists of NAME=VALUE. A later value overrides an earlier one.
func merge(lists ...[]string) []string {
	at := make(map[string]int)
	var out []string
	for _, list := range lists {
		for _, kv := range list {
			name, _, _ := strings.Cut(kv, "=")
			if i, ok := at[name]; ok {
				out[i] = kv
				continue
			}
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return out
}

// BareEnvironment returns the environment of a program of the release without the unit's
// credentials, which exist only while the unit runs.
func BareEnvironment(c *config.Config, r releases.Release, u *config.User) Environ {
	return environment(c, r, u, "", nil)
}
