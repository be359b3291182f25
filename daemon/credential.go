package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"superctl/config"
	"superctl/daemon/credentials"
	"superctl/releases"
	"superctl/supervisor"
	"superctl/supervisor/worker"
)

// credentialSource finds the unit's credentials for the programs of an app.
type credentialSource struct {
	dir  string                            // systemd's directory for the daemon; "" = no credentials, or not a daemon
	used func() ([]supervisor.Plan, error) // the plans of the daemon's generations; nil = not a daemon
	live bool                              // not a daemon: those of the live release, not the newest
	log  *zap.Logger                       // of the daemon
}

func copiesOf(c *config.Config) credentials.Store {
	return credentials.Store{Dir: filepath.Join(filepath.Dir(c.Control), c.App+".credentials")}
}

// directory returns the directory where the programs of a user find the credentials, or "".
func (s credentialSource) directory(c *config.Config, u *config.User) (string, error) {
	uid, gid := u.IDs()
	copies := copiesOf(c)
	switch {
	case s.used == nil:
		return s.outside(c, uid), nil
	case s.dir == "":
		return "", nil
	case credentials.InMemory(copies.Dir):
		return copies.Copy(s.dir, uid, gid)
	case uid == os.Geteuid():
		return s.dir, nil // only systemd removes it
	}
	return "", fmt.Errorf("credentials for user %s: superctl copies them to %s, and that is on a disk: "+
		"set control to a path below /run", u.Name, copies.Dir)
}

// own returns the directory of credentials for programs of this process's user, or "".
func (s credentialSource) own(c *config.Config) string {
	if s.used != nil {
		return s.dir
	}
	return s.outside(c, os.Geteuid())
}

// outside returns the directory of credentials for a program that is not started by the daemon: the
// credentials of this command, if it runs as the user, else the copy that a daemon made for the user
// or, for root, for the daemon's user.
func (s credentialSource) outside(c *config.Config, uid int) string {
	own := os.Getenv(credentials.Variable)
	if own != "" && uid == os.Geteuid() {
		return own
	}
	copies := copiesOf(c)
	copyFor := copies.Newest
	if s.live {
		copyFor = copies.Live
	}
	if dir := copyFor(uid); dir != "" {
		return dir
	}
	if owner, ok, err := supervisor.StateOwner(c.State); err == nil && ok {
		if dir := copyFor(int(owner)); dir != "" {
			return dir
		}
	}
	return own
}

// check returns an error if a program of u would not find a credential that the config uses.
func (s credentialSource) check(c *config.Config, u *config.User) error {
	dir := s.dir
	if s.used == nil {
		uid, _ := u.IDs()
		dir = s.outside(c, uid)
	}
	return c.CheckCredentials(func(name string) error {
		if dir == "" && s.used == nil {
			return fmt.Errorf("credential %q: not available, because no daemon runs that keeps it in %s", name, copiesOf(c).Dir)
		}
		err := fs.ErrNotExist
		if dir != "" {
			_, err = worker.ReadSecret(filepath.Join(dir, name))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("credential %q: not found: add LoadCredential=%s:/etc/%s/%s to the unit "+
				"(systemctl edit superctl@%s), then run systemctl restart superctl@%s", name, name, c.App, name, c.App, c.App)
		case err != nil:
			return fmt.Errorf("credential %q: %w", name, err)
		}
		return nil
	})
}

// removeUnused removes the copies of credentials that neither a generation nor the new plan uses.
func (s credentialSource) removeUnused(c *config.Config, plan supervisor.Plan) {
	if s.used == nil {
		return
	}
	plans, err := s.used()
	if err != nil {
		return // the daemon is ending, which removes all of them
	}
	var dirs []string
	for _, p := range append(plans, plan) {
		dirs = append(dirs, credentialDirs(&p)...)
	}
	if err := copiesOf(c).RemoveExcept(dirs); err != nil {
		s.log.Error("remove unused copies of credentials", zap.Error(err))
	}
}

// credentialDirs returns the directories of credentials that the programs of a plan use.
func credentialDirs(plan *supervisor.Plan) []string {
	var dirs []string
	lists := [][]string{plan.Hooks.Env}
	for i := range plan.Processes {
		lists = append(lists, plan.Processes[i].Env)
	}
	for _, kv := range slices.Concat(lists...) {
		if dir, ok := strings.CutPrefix(kv, credentials.Variable+"="); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// CheckCredentials returns an error if a program of u would not find a credential that the config
// uses. It is for commands other than the daemon.
func CheckCredentials(c *config.Config, u *config.User) error { return credentialSource{}.check(c, u) }

// Credentials returns the directory with the unit's credentials for programs of u, or "". It is for
// commands other than the daemon.
func Credentials(c *config.Config, u *config.User) string {
	uid, _ := u.IDs()
	return credentialSource{}.outside(c, uid)
}

// EnvironmentOf returns the environment of a program of the release. It is for commands other than
// the daemon. Credentials are those of the live release, unless the config has come to use others since.
func EnvironmentOf(c *config.Config, r releases.Release, u *config.User) (Environ, error) {
	source := credentialSource{live: true}
	if err := source.check(c, u); err != nil {
		source.live = false
		if err := source.check(c, u); err != nil {
			return nil, err
		}
	}
	dir, err := source.directory(c, u)
	if err != nil {
		return nil, err
	}
	with := *c
	kept, err := addSecrets(&with, u)
	if err != nil {
		return nil, err
	}
	env := environment(&with, r, u, dir, nil)
	if kept != "" {
		refer(env, kept)
	}
	return env, nil
}
