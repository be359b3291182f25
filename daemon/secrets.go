package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/releases"
	"superctl/supervisor"
)

// secretSource has the values that secrets.command prints. It keeps those of the daemon's
// generations in files in memory, one directory for each user and each set of values.
type secretSource struct {
	keeps   bool                   // the values are kept: this is the daemon
	log     *zap.Logger            // of the daemon; nil = not a daemon
	trouble atomic.Pointer[string] // message for status: the daemon has started without the command
	printed map[string]string      // by the command, if the values are not kept: a trial runs it once
}

func secretsOf(c *config.Config) credentials.Store { return credentials.Store{Dir: secretsDir(c)} }

// fetch adds to a config the variables that its secrets.command prints. dir is the directory with
// the unit's credentials, or "".
func (s *secretSource) fetch(ctx context.Context, c *config.Config, t supervisor.Target, dir string) error {
	if len(c.Secrets.Command) == 0 {
		return nil
	}
	old := keptSecrets(c, c.User)
	if t.Starting() && len(old) > 0 {
		// The site is down, but its values are still there: whether the command works must not matter.
		c.AddSecrets(old)
		return nil
	}
	vars, err := s.printed, error(nil)
	if vars == nil {
		vars, err = runSecrets(ctx, c, dir, old)
	}
	if err == nil {
		c.AddSecrets(vars)
		s.report("")
		if !s.keeps {
			s.printed = vars
		}
		return nil
	}
	if t.Starting() && c.WithoutSecrets() {
		s.report("started with the variables of the config alone: " + err.Error() +
			": once the command works, run superctl reload")
		return nil
	}
	return err
}

// report logs and remembers that the app runs without the values of secrets.command; "" means that
// it has them.
func (s *secretSource) report(trouble string) {
	if trouble != "" && s.log != nil {
		s.log.Error(trouble)
	}
	s.trouble.Store(&trouble)
}

// troubles returns what status says about the secrets.
func (s *secretSource) troubles() []api.Trouble {
	if text := s.trouble.Load(); text != nil && *text != "" {
		return []api.Trouble{{Of: "secrets", Why: *text}}
	}
	return nil
}

// store writes the values of secrets.command in env to files in memory that only the program's user
// can read, and refers to these instead.
func (s *secretSource) store(c *config.Config, env Environ, u *config.User) error {
	values := make(map[string][]byte)
	for _, v := range c.Env { // all of them: env may override some
		if v.From == config.FromSecrets {
			values[v.Name] = []byte(v.Value + secretEnd)
		}
	}
	if !s.keeps || len(values) == 0 {
		return nil
	}
	store := secretsOf(c)
	if store.Dir == "" {
		return fmt.Errorf("secrets.command: superctl keeps the values in memory only, and neither the directory of the "+
			"control socket %s nor %s is in memory: set control to a path below /run", c.Control, sharedMemory)
	}
	uid, gid := u.IDs()
	dir, err := store.Keep(values, uid, gid)
	if err != nil {
		return fmt.Errorf("keep the values of secrets.command: %w", err)
	}
	refer(env, dir)
	return nil
}

// refer replaces the values of secrets.command by their files in dir.
func refer(env Environ, dir string) {
	for i := range env {
		if env[i].From == config.FromSecrets {
			env[i].Value, env[i].File = "", filepath.Join(dir, env[i].Name)
		}
	}
}

// clearSecrets implements the supervisor's Unused: it removes the values of secrets.command that no
// file in use has.
func (p *planner) clearSecrets(used []string) error {
	store := secretsOf(p.running)
	if store.Dir == "" {
		return nil
	}
	return store.RemoveExcept(dirsOf(used))
}

// values are what the supervisor does with the values of secrets.command.
func (p *planner) values() supervisor.Values {
	return supervisor.Values{Dir: valuesDir(p.running), Read: p.readValues, Unused: p.clearSecrets, Live: p.markLive}
}

// markLive implements the supervisor's Live.
func (p *planner) markLive(plan *supervisor.Plan) error {
	err := copiesOf(p.running).MarkLive(credentialDirs(plan))
	if store := secretsOf(p.running); store.Dir != "" {
		err = errors.Join(err, store.MarkLive(dirsOf(plan.SecretFiles())))
	}
	if err != nil {
		return fmt.Errorf("superctl exec may run with the secrets of another release: %w", err)
	}
	return nil
}

// dirsOf returns the directories of files, each once.
func dirsOf(files []string) []string {
	dirs := make(map[string]bool)
	for _, path := range files {
		dirs[filepath.Dir(path)] = true
	}
	return slices.Sorted(maps.Keys(dirs))
}

// removeSecrets removes all values of secrets.command.
func removeSecrets(c *config.Config) error {
	if store := secretsOf(c); store.Dir != "" {
		return store.Remove()
	}
	return nil
}

// keptSecrets returns the values of the live release that a daemon keeps for a user, or nil.
func keptSecrets(c *config.Config, u *config.User) map[string]string {
	uid, _ := u.IDs()
	values, _ := secretValues(liveSecrets(c, uid))
	return values
}

// liveSecrets returns the directory with the values of the live release that a daemon keeps for a user or, for
// root, for the daemon's user. It returns "" if there are none.
func liveSecrets(c *config.Config, uid int) string {
	store := secretsOf(c)
	if store.Dir == "" {
		return ""
	}
	if dir := store.Live(uid); dir != "" {
		return dir
	}
	if owner, ok, err := supervisor.StateOwner(c.State); os.Geteuid() == 0 && err == nil && ok {
		return store.Live(int(owner))
	}
	return ""
}

// addSecrets adds to a config the values of the live release that the daemon keeps for a user, and returns their
// directory. If there are none, it runs secrets.command if this process has the daemon's user. It is
// for commands other than the daemon.
func addSecrets(c *config.Config, u *config.User) (dir string, err error) {
	if len(c.Secrets.Command) == 0 {
		return "", nil
	}
	uid, _ := u.IDs()
	if dir = liveSecrets(c, uid); dir != "" {
		values, err := secretValues(dir)
		if err != nil {
			return "", fmt.Errorf("the values of secrets.command: %w", err)
		}
		c.AddSecrets(values)
		return dir, nil
	}
	owner, ok, err := supervisor.StateOwner(c.State)
	if err != nil || !ok || int(owner) != os.Geteuid() {
		return "", errors.New("the values of secrets.command: no daemon keeps them for this user: run this as root while " +
			"a release is live, or as the daemon's user")
	}
	vars, err := runSecrets(context.Background(), c, credentialSource{}.own(c), nil)
	c.AddSecrets(vars)
	return "", err
}

// secretEnd ends a file with a value. worker.SecretValue takes it away, and so nothing of the value.
const secretEnd = "\r\n"

func secretValues(dir string) (map[string]string, error) {
	files, err := credentials.Files(dir)
	values := make(map[string]string, len(files))
	for name, data := range files {
		values[name] = strings.TrimSuffix(string(data), secretEnd)
	}
	return values, err
}

// checkRequired returns an error if the environment of a program lacks a variable that
// secrets.required names. what names the program.
func checkRequired(c *config.Config, env Environ, what string) error {
	var missing []string
	for _, name := range c.Secrets.Required {
		if !slices.ContainsFunc(env, func(v config.Variable) bool {
			return v.Name == name && cmp.Or(v.Value, v.Credential, v.File) != ""
		}) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: secrets.required: %s has no %s: set it in env_file, in [env] as a credential, or by secrets.command",
		c.Path, what, strings.Join(missing, ", "))
}

// CheckSecrets runs secrets.command as the daemon does for a change, and checks whether all required
// variables are set. It returns the names of the variables that the command prints.
func CheckSecrets(ctx context.Context, c *config.Config, r releases.Release) (names []string, err error) {
	with := *c
	dir := credentialSource{}.own(c)
	if len(c.Secrets.Command) > 0 {
		vars, err := runSecrets(ctx, c, dir, keptSecrets(c, c.User))
		if err != nil {
			return nil, err
		}
		with.AddSecrets(vars)
		names = slices.Sorted(maps.Keys(vars))
	}
	for i := range with.Processes {
		p := &with.Processes[i]
		err := checkRequired(&with, environment(&with, r, cmp.Or(p.User, c.User), dir, p.Env), "process."+p.Name)
		if err != nil {
			return names, err
		}
	}
	return names, nil
}
