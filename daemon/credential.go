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

// credentialSource is where the programs of an app get the unit's credentials from.
type credentialSource struct {
	dir  string                            // the daemon's own, of systemd; "" = the unit has none, or this is no daemon
	used func() ([]supervisor.Plan, error) // what the daemon's generations run; nil = this is no daemon
	log  *zap.Logger                       // of the daemon
}

func copiesOf(c *config.Config) credentials.Store {
	return credentials.Store{Dir: filepath.Join(filepath.Dir(c.Control), c.App+".credentials")}
}

// directory is where the programs of a user find the credentials; "" where there are none.
func (s credentialSource) directory(c *config.Config, u *config.User) (string, error) {
	uid, gid := u.IDs()
	copies := copiesOf(c)
	switch {
	case s.used == nil:
		return outside(c, copies, uid), nil
	case s.dir == "":
		return "", nil
	case credentials.InMemory(copies.Dir):
		return copies.Copy(s.dir, uid, gid)
	case uid == os.Geteuid():
		return s.dir, nil // outside systemd nobody takes it away
	}
	return "", fmt.Errorf("the unit's credentials cannot be given to user %s: they would have to be copied to %s, which is on a disk; "+
		"set control to a path below /run", u.Name, copies.Dir)
}

// outside is the credentials of this command itself if it is of the user, else the newest copy that
// a daemon has made for them. Root takes that of the daemon's user.
func outside(c *config.Config, copies credentials.Store, uid int) string {
	own := os.Getenv(credentials.Variable)
	if own != "" && uid == os.Geteuid() {
		return own
	}
	if dir := copies.Newest(uid); dir != "" {
		return dir
	}
	if owner, ok, err := supervisor.StateOwner(c.State); err == nil && ok {
		if dir := copies.Newest(int(owner)); dir != "" {
			return dir
		}
	}
	return own
}

// check looks whether the credentials are there that the config has variables from, as programs of
// u would find them.
func (s credentialSource) check(c *config.Config, u *config.User) error {
	dir := s.dir
	if s.used == nil {
		uid, _ := u.IDs()
		dir = outside(c, copiesOf(c), uid)
	}
	return c.CheckCredentials(func(name string) error {
		if dir == "" && s.used == nil {
			return fmt.Errorf("credential %q is not at hand: a daemon that runs keeps it in %s", name, copiesOf(c).Dir)
		}
		err := fs.ErrNotExist
		if dir != "" {
			_, err = worker.ReadSecret(filepath.Join(dir, name))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("there is no credential %q: add LoadCredential=%s:/etc/%s/%s to the unit (systemctl edit superctl@%s), then systemctl restart superctl@%s",
				name, name, c.App, name, c.App, c.App)
		case err != nil:
			return fmt.Errorf("credential %q: %w", name, err)
		}
		return nil
	})
}

// forget removes the copies that nothing runs with: neither a generation nor the plan that has just
// been made.
func (s credentialSource) forget(c *config.Config, plan supervisor.Plan) {
	if s.used == nil {
		return
	}
	plans, err := s.used()
	if err != nil {
		return // the daemon ends, and then all of them are removed
	}
	var dirs []string
	for _, p := range append(plans, plan) {
		lists := [][]string{p.Hooks.Env}
		for i := range p.Processes {
			lists = append(lists, p.Processes[i].Env)
		}
		for _, kv := range slices.Concat(lists...) {
			if dir, ok := strings.CutPrefix(kv, credentials.Variable+"="); ok {
				dirs = append(dirs, dir)
			}
		}
	}
	if err := copiesOf(c).RemoveExcept(dirs); err != nil {
		s.log.Error("remove copies of credentials that are not used any more", zap.Error(err))
	}
}

// CheckCredentials reports for a command that is not the daemon which credentials of the config a
// program of u would not find.
func CheckCredentials(c *config.Config, u *config.User) error { return credentialSource{}.check(c, u) }

// Credentials returns the directory where a command that is not the daemon finds the unit's
// credentials for programs of u; "" if there is none.
func Credentials(c *config.Config, u *config.User) string {
	uid, _ := u.IDs()
	return outside(c, copiesOf(c), uid)
}

// EnvironmentOf returns the environment of a program of the release, for a command that is not the
// daemon.
func EnvironmentOf(c *config.Config, r releases.Release, u *config.User) (Environ, error) {
	var source credentialSource
	if err := source.check(c, u); err != nil {
		return nil, err
	}
	dir, err := source.directory(c, u)
	return environment(c, r, u, dir, nil), err
}
