//go:build linux

package app

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"superctl/cli/commandline"
	"superctl/config"
	"superctl/daemon"
	"superctl/daemon/control"
	"superctl/daemon/systemd"
)

// Service describes how an app's daemon runs on this machine: its user and its sandbox.
type Service struct {
	Unit  *systemd.Service // nil if no unit is known to run it
	User  *config.User     // of the daemon; nil = root or unknown
	known bool             // whether the user is known
}

// ServiceOf returns how the daemon of an app runs. The answer is for root, so it relies only on
// facts that root alone can change: the unit, else the owner of the state directory.
func ServiceOf(ctx context.Context, conf *config.Config) (Service, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTime)
	defer cancel()
	unit, err := UnitOf(ctx, conf)
	if err != nil {
		return Service{}, err
	}
	if unit != nil {
		s := Service{Unit: unit, known: true}
		if name, _ := unit.User(); name != "" && name != "root" && name != "0" {
			s.User, err = config.UserNamed(name)
			if err != nil {
				return s, fmt.Errorf("%s runs as user %s: %w", unit.Name, name, err)
			}
		}
		return s, nil
	}
	uid, known, err := daemon.Owner(conf)
	if err != nil || !known || uid == 0 {
		return Service{known: known}, err
	}
	u, err := config.UserOf(uid)
	if err != nil {
		return Service{}, fmt.Errorf("the owner of %s: %w", conf.State, err)
	}
	return Service{User: u, known: true}, nil
}

// UnitOf returns the unit that runs the daemon: the packaged one for a config in /etc/superctl,
// else the unit of the daemon that answers on the control socket. Any user could answer there, so a
// unit found this way counts only if it does not run as root.
func UnitOf(ctx context.Context, conf *config.Config) (*systemd.Service, error) {
	if conf.Path == config.PathOf(conf.App) {
		unit, err := systemd.FindService(ctx, "superctl@"+conf.App+".service")
		if unit != nil || err != nil {
			return unit, err
		}
	}
	st, err := control.NewClient(conf.Control, conf.App).Status(ctx)
	if err != nil || st.App != conf.App {
		return nil, nil //nolint:nilerr // no daemon answers
	}
	unit, err := systemd.FindServiceOf(ctx, st.PID)
	if unit == nil || err != nil {
		return nil, err
	}
	if name, _ := unit.User(); name == "" || name == "root" || name == "0" {
		return nil, nil
	}
	return unit, nil
}

// WorkersUser returns the user of the workers, for a command that runs the app's code. For root it is
// the user in the config, else the daemon's user. If both are unknown it returns an error, so that
// root does not run the app's code as root by mistake. Another user can run it only as itself.
func WorkersUser(conf *config.Config) (*config.User, error) {
	if u := conf.User; os.Geteuid() != 0 {
		if u != nil && int(u.Credential.UID) != os.Geteuid() {
			return nil, commandline.Usagef(
				"the workers of %s run as user %s, and only root can start a program as that user: use sudo", conf.App, u.Name,
			)
		}
		return u, nil
	}
	if conf.User != nil {
		return conf.User, nil
	}
	s, err := ServiceOf(context.Background(), conf)
	switch {
	case err != nil:
		return nil, err
	case !s.known:
		return nil, commandline.Usagef(
			"the user that runs %s is unknown: neither the unit superctl@%s.service nor the state directory %s exists: "+
				`set user = "NAME" in %s (user = "root" to run the app's code as root), or start the daemon first`,
			conf.App, conf.App, conf.State, conf.Path,
		)
	}
	return s.User, nil
}

// Environment returns the environment of a command that runs as the service's user without a unit.
func (s Service) Environment(conf *config.Config) []string {
	env := []string{"STATE_DIRECTORY=" + conf.State, "RUNTIME_DIRECTORY=" + filepath.Dir(conf.Control)}
	for _, name := range []string{"PATH", "LANG", "TZ", "TERM", "NO_COLOR", "COLUMNS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if s.User != nil {
		env = append(env, "HOME="+s.User.Home, "USER="+s.User.Name, "LOGNAME="+s.User.Name)
	}
	return env
}

// CurrentUser returns the name of the user of this process.
func CurrentUser() string {
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}
