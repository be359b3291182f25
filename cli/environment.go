package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/control"
	"superctl/releases"
	"superctl/supervisor/worker"
)

// Where variables are from that are in no file of the operator's.
const (
	fromSuperctl = "superctl"
	fromRelease  = "release"
)

// environ is the environment of a program of a release, with where each variable is from.
type environ []config.Variable

// environment builds it (DESIGN 5): nothing is inherited but the time zone and the language. The release has the least to say, and the
// process (own) the most. credentials is the directory with the unit's credentials that the program's user can read; "" for none.
func environment(c *config.Config, r releases.Release, u *config.User, credentials string, own []config.Variable) environ {
	name, home := "root", "/root"
	if u != nil {
		name, home = u.Name, u.Home
	} else if me, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		name, home = me.Username, me.HomeDir
	}
	var env environ
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
	if credentials != "" {
		env.set(fromSuperctl, credentialsVar, credentials)
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

// ofRelease is a variable of the config for a release. It is a template no more when all its placeholders are the release's.
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

func (e *environ) set(from, name, value string) {
	e.put(config.Variable{Name: name, Value: value, From: from})
}

// put adds a variable, in the place of an earlier one of its name.
func (e *environ) put(v config.Variable) {
	if i := slices.IndexFunc(*e, func(o config.Variable) bool { return o.Name == v.Name }); i >= 0 {
		(*e)[i] = v
		return
	}
	*e = append(*e, v)
}

// list is NAME=VALUE of each that is no credential, and the same for every program of the release. Hooks and commands have these: a
// variable with a placeholder that stands for something in a worker only, such as {generation}, is not set for them.
func (e environ) list() []string {
	return e.having(func(v config.Variable) bool { return v.Credential == "" && !v.Template })
}

// templates is NAME=VALUE of each whose value differs from worker to worker.
func (e environ) templates() []string {
	return e.having(func(v config.Variable) bool { return v.Template })
}

func (e environ) having(match func(config.Variable) bool) []string {
	list := make([]string, 0, len(e))
	for _, v := range e {
		if match(v) {
			list = append(list, v.Name+"="+v.Value)
		}
	}
	return list
}

// secrets is the files that have the values of the others; without the unit's credentials, a program has to do without those variables.
func (e environ) secrets() worker.Secrets {
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
func (e environ) credentials() string {
	for _, v := range e {
		if v.Name == credentialsVar {
			return v.Value
		}
	}
	return ""
}

// origins is where each is from.
func (e environ) origins() map[string]string {
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

// showEnvironment is `status --env`.
func (c *command) showEnvironment(ctx context.Context, daemonClient *control.Client, cc *cli.Context) error {
	if cc.Bool("watch") {
		return &usageError{errors.New("status: --env does not change by itself; take --watch out")}
	}
	st, err := daemonClient.Environment(ctx)
	switch {
	case err != nil:
		return err
	case cc.Bool("json"):
		return c.json(st)
	}
	writeEnvironment(c.stdout, &st, paletteFor(c.stdout))
	return nil
}

func writeEnvironment(w io.Writer, st *api.EnvironmentStatus, p palette) {
	if st.Release == "" {
		fmt.Fprintf(w, "%s: no release is live\n", p.bold(st.App))
		return
	}
	fmt.Fprintf(w, "%s: %s, generation %d\n", p.bold(st.App), p.bold(st.Release), st.Generation)
	for _, process := range st.Processes {
		var t table
		fmt.Fprintln(w)
		t.row(p.dim(strings.ToUpper(process.Process)), p.dim("FROM"))
		for _, v := range process.Variables {
			t.row(v.Name, v.From)
		}
		t.write(w, "  ")
	}
}
