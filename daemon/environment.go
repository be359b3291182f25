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

// Where variables are from that are in no file of the operator's.
const (
	fromSuperctl = "superctl"
	fromRelease  = "release"
)

// Environ is the environment of a program of a release, with where each variable is from.
type Environ []config.Variable

// environment builds it (DESIGN 5): nothing is inherited but the time zone and the language. The
// release has the least to say, and the process (own) the most. dir is the directory with the
// unit's credentials that the program's user can read; "" for none.
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

// ofRelease is a variable of the config for a release. It is a template no more when all its
// placeholders are the release's.
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

// put adds a variable, in the place of an earlier one of its name.
func (e *Environ) put(v config.Variable) {
	if i := slices.IndexFunc(*e, func(o config.Variable) bool { return o.Name == v.Name }); i >= 0 {
		(*e)[i] = v
		return
	}
	*e = append(*e, v)
}

// List is NAME=VALUE of each that is no credential, and the same for every program of the release.
// Hooks and commands have these: a variable with a placeholder that stands for something in a
// worker only, such as {generation}, is not set for them.
func (e Environ) List() []string {
	return e.having(func(v config.Variable) bool { return v.Credential == "" && !v.Template })
}

// templates is NAME=VALUE of each whose value differs from worker to worker.
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

// Secrets is the files that have the values of the others; without the unit's credentials, a
// program has to do without those variables.
func (e Environ) Secrets() worker.Secrets {
	dir := e.credentials()
	if dir == "" {
		return nil
	}
	secrets := make(worker.Secrets)
	for _, v := range e {
		if v.Credential != "" {
			secrets[v.Name] = filepath.Join(dir, v.Credential)
		}
	}
	return secrets
}

// credentials is the directory of the unit's credentials, or "".
func (e Environ) credentials() string {
	for _, v := range e {
		if v.Name == credentials.Variable {
			return v.Value
		}
	}
	return ""
}

// origins is where each is from.
func (e Environ) origins() map[string]string {
	from := make(map[string]string, len(e))
	for _, v := range e {
		from[v.Name] = v.From
	}
	return from
}

// merge joins lists of NAME=VALUE; a later one wins.
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
// credentials, which are there only while the unit runs.
func BareEnvironment(c *config.Config, r releases.Release, u *config.User) Environ {
	return environment(c, r, u, "", nil)
}
