//go:build linux

package movecommand

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/cli/app"
	"superctl/config"
	"superctl/daemon"
	"superctl/proc"
	"superctl/releases"
	"superctl/takeover/eject"
)

// byHand is the other way for an app that plain units cannot run as it is.
const byHand = "or stop superctl@%s and start units of your own, which takes the site down for a moment"

// ejectable returns the process with the listener, or why the app cannot be ejected.
func ejectable(conf *config.Config) (web config.Process, err error) {
	refuse := func(why, next string) error {
		return fmt.Errorf("%s\n%s, "+byHand, why, next, conf.App)
	}
	var listening []string
	for _, p := range conf.Processes {
		if len(p.Listen) > 0 {
			listening = append(listening, p.Name)
			web = p
		}
	}
	switch {
	case len(conf.Listen) == 0 || len(listening) == 0:
		return web, errors.New("no process has a listener, so there is no connection to keep\nstop superctl@" + conf.App +
			", and start units of your own")
	case len(conf.Listen) > 1 || len(listening) > 1:
		return web, refuse(fmt.Sprintf("%s has %d addresses (processes %s), and only an app with one can be ejected", conf.App,
			len(conf.Listen), strings.Join(listening, ", ")), "make an app of each")
	case conf.Listen[0].Address.Network() == "systemd":
		return web, refuse("listener "+conf.Listen[0].Name+" is a socket of systemd's already, which stays open with superctl",
			"give the listener an address")
	case conf.Listen[0].Gate == "shared":
		return web, refuse(`listener `+conf.Listen[0].Name+` has gate = "shared"`, "leave the gate out")
	case web.Instances > 1:
		return web, refuse(fmt.Sprintf("process %s has %d instances, and one plain unit is one process", web.Name, web.Instances),
			"set instances = 1, and let the server start several workers,")
	}
	return web, nil
}

// plainSite describes the app as plain units run it. daemonPID is that of superctl's daemon, or 0.
func plainSite(conf *config.Config, web config.Process, name string, daemonPID int) (*eject.Site, error) {
	r, err := app.Release(conf, "")
	if err != nil {
		return nil, err
	}
	if to, err := filepath.EvalSymlinks(conf.Current); conf.Current != "" && (err != nil || to != r.Path) {
		return nil, fmt.Errorf("%s does not lead to %s, which is live: run superctl --app %s reload, which mends it",
			conf.Current, r.Name, conf.App)
	}
	u, err := app.WorkersUser(conf)
	if err != nil {
		return nil, err
	}
	s := &eject.Site{Name: cmp.Or(name, conf.App), App: conf.App, Dir: cmp.Or(conf.Current, r.Path), Listen: plainListen(conf, u)}
	if venv := r.Virtualenv(); venv != "" && conf.Virtualenv {
		s.Bin = filepath.Join(s.Dir, strings.TrimPrefix(venv, r.Path), "bin")
	}
	if s.Env, err = plainEnv(conf, r, daemonPID); err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(conf.Processes), func(p config.Process) bool { return p.Name == web.Name })
	for _, p := range append([]config.Process{web}, others...) {
		program, err := plainProgram(conf, r, p, u)
		if err != nil {
			return nil, err
		}
		program.Command[0] = plainPath(s, r, program.Command[0])
		s.Programs = append(s.Programs, program)
	}
	return s, nil
}

func plainListen(conf *config.Config, u *config.User) eject.Listen {
	l := conf.Listen[0]
	out := eject.Listen{
		Address: l.Address.String(), Path: l.Address.Path(), Backlog: cmp.Or(l.Backlog, 2048),
		Mode: cmp.Or(l.Mode, 0o666), Owner: l.Owner, Group: l.Group,
	}
	if out.Owner == "" && u != nil {
		out.Owner = u.Name
	}
	return out
}

// plainEnv returns the variables of the app: those of the release, those that the daemon passes on,
// and those of the config.
func plainEnv(conf *config.Config, r releases.Release, daemonPID int) ([]string, error) {
	values := map[string]string{}
	for name, value := range r.Env {
		values[name] = value
	}
	if len(conf.Inherit) > 0 && daemonPID != 0 {
		env, err := proc.Environ(daemonPID)
		if err != nil {
			return nil, fmt.Errorf("inherit: the variables of superctl's daemon: %w: run it with sudo", err)
		}
		for name, value := range env.All() {
			if conf.Inherited(name) {
				values[name] = value
			}
		}
	}
	if len(conf.Secrets.Command) > 0 {
		return nil, errors.New("the variables of secrets.command have no place in a unit: move them to env_file, and run " +
			"superctl reload")
	}
	if err := addVariables(values, conf.Env); err != nil {
		return nil, err
	}
	return listed(values), nil
}

// addVariables adds variables of the config. Those whose value only superctl knows are an error.
func addVariables(values map[string]string, list []config.Variable) error {
	for _, v := range list {
		switch {
		case v.Credential != "":
			return fmt.Errorf("the variable %s is a credential of superctl's unit: move it to env_file, and run superctl reload", v.Name)
		case v.Template:
			return fmt.Errorf("the variable %s has a placeholder, which only superctl replaces: write a fixed value, and run "+
				"superctl reload", v.Name)
		}
		values[v.Name] = v.Value
	}
	return nil
}

func listed(values map[string]string) (list []string) {
	for name, value := range values {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

func plainProgram(conf *config.Config, r releases.Release, p config.Process, u *config.User) (eject.Program, error) {
	applied := daemon.CommandOf(conf, r, p)
	if applied.Bridged {
		return eject.Program{}, fmt.Errorf("process %s: %s takes no listener from systemd, only superctl's bridge hands it one\n"+
			"use gunicorn, uvicorn, hypercorn or uWSGI, "+byHand, p.Name, applied.Server, conf.App)
	}
	program := eject.Program{
		Name: p.Name, Notify: p.Notify || applied.Server == "gunicorn", Drain: p.Drain, Copies: p.Instances, After: p.After,
		NoListenFDs: applied.HideListen, NoFile: p.NoFile, MemoryMax: p.MemoryMax, CPUWeight: p.CPUWeight,
	}
	if p.User != nil {
		u = p.User
	}
	if u != nil {
		program.User, program.Group = u.Name, otherGroup(u)
	}
	own := map[string]string{}
	if err := addVariables(own, p.Env); err != nil {
		return program, err
	}
	program.Env = listed(own)
	program.Signal = stopSignal(p, applied.StopSignal)
	for _, word := range applied.Command {
		if len(p.Listen) > 0 {
			word = strings.ReplaceAll(word, "{fd."+p.Listen[0]+"}", "3") // SD_LISTEN_FDS_START
		}
		word = strings.ReplaceAll(word, "{process}", p.Name)
		if p.Instances <= 1 {
			word = strings.ReplaceAll(word, eject.Instance, "0")
		}
		if rest := strings.ReplaceAll(word, eject.Instance, ""); strings.Contains(rest, "{") && strings.Contains(rest, "}") {
			return program, fmt.Errorf("process %s: its command has the placeholder %s, which only superctl replaces\n"+
				"write a fixed value and run superctl reload, "+byHand, p.Name, word, conf.App)
		}
		program.Command = append(program.Command, word)
	}
	return program, nil
}

// plainPath returns a program as systemd finds it, which does not look in the virtualenv.
func plainPath(s *eject.Site, r releases.Release, program string) string {
	switch {
	case filepath.IsAbs(program):
		return program
	case strings.Contains(program, "/"):
		return filepath.Join(s.Dir, program)
	case s.Bin == "":
		return program
	}
	if _, err := os.Stat(filepath.Join(r.Virtualenv(), "bin", program)); err != nil {
		return program
	}
	return filepath.Join(s.Bin, program)
}

// stopSignal returns the name of the signal that stops a process, or "" for SIGTERM.
func stopSignal(p config.Process, preset unix.Signal) string {
	if p.StopSignal != 0 {
		preset = unix.Signal(p.StopSignal)
	}
	if preset == unix.SIGTERM {
		return ""
	}
	return unix.SignalName(preset)
}

// otherGroup returns the name of a user's group if it is not the user's own.
func otherGroup(u *config.User) string {
	gid := strconv.FormatUint(uint64(u.Credential.GID), 10)
	account, err := user.Lookup(u.Name)
	if err != nil || account.Gid == gid {
		return ""
	}
	if g, err := user.LookupGroupId(gid); err == nil {
		return g.Name
	}
	return gid
}
