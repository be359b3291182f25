package running

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"superctl/daemon/systemd"
	"superctl/proc"
)

// ManagerKind is a program that starts a server again when it ends.
type ManagerKind string

// The kinds of managers.
const (
	Systemd     ManagerKind = "systemd"
	Supervisord ManagerKind = "supervisord"
	None        ManagerKind = "" // started by hand, or by a program that is not known
)

// Manager is what started a server, and would start it again.
type Manager struct {
	Kind ManagerKind

	// of systemd
	Unit               string   // such as shop.service
	Sockets            []string // its socket units
	PrivateNetwork     bool
	RuntimeDirectories []string // below /run, which systemd removes when the unit stops

	// of supervisord
	Program string   // GROUP:NAME, as supervisorctl takes it
	Control []string // the supervisorctl command, without what it shall do
}

// String returns the manager in a few words.
func (m Manager) String() string {
	switch m.Kind {
	case Systemd:
		return "systemd unit " + m.Unit
	case Supervisord:
		return "supervisord program " + m.Program
	case None:
	}
	return "nothing"
}

// managerOf returns the manager of the server with that master.
func managerOf(ctx context.Context, pid int) (Manager, error) {
	if m, ok, err := supervisordOf(pid); ok || err != nil {
		return m, err
	}
	service, err := systemd.FindServiceOf(ctx, pid)
	if service == nil || err != nil {
		return Manager{}, err
	}
	main := service.MainPID()
	if name, err := proc.Name(main); err != nil || name == "systemd" { // a user's own systemd
		return Manager{}, nil //nolint:nilerr // a unit without a main process does not start the server again
	}
	return Manager{
		Kind: Systemd, Unit: service.Name, Sockets: service.Sockets(), PrivateNetwork: service.HasPrivateNetwork(),
		RuntimeDirectories: service.RuntimeDirectories(),
	}, nil
}

// The variables that supervisord sets for its programs
// (http://supervisord.org/subprocess.html#subprocess-environment).
const (
	supervisorName  = "SUPERVISOR_PROCESS_NAME"
	supervisorGroup = "SUPERVISOR_GROUP_NAME"
)

// supervisordOf returns supervisord and the program of a process whose ancestor is supervisord.
func supervisordOf(pid int) (m Manager, ok bool, err error) {
	env, err := proc.Environ(pid)
	if err != nil {
		return m, false, err
	}
	name, named := env.Lookup(supervisorName)
	group, grouped := env.Lookup(supervisorGroup)
	if !named || !grouped {
		return m, false, nil
	}
	args, found := supervisordAbove(pid)
	if !found {
		return m, false, nil // the variables were inherited by a process that has left supervisord
	}
	m = Manager{Kind: Supervisord, Program: group + ":" + name}
	if group == name {
		m.Program = name
	}
	m.Control = controlCommand(args)
	return m, true, nil
}

// supervisordAbove returns the command line of the supervisord that started a process.
func supervisordAbove(pid int) (args []string, found bool) {
	for pid > 1 {
		stat, err := proc.ReadStat(pid)
		if err != nil {
			return nil, false
		}
		pid = stat.Parent
		if args, err = proc.Args(pid); err == nil && slices.ContainsFunc(args[:min(2, len(args))], isSupervisord) {
			return args, true
		}
	}
	return nil, false
}

func isSupervisord(word string) bool { return filepath.Base(word) == "supervisord" }

// controlCommand returns the supervisorctl next to a supervisord, with its config.
func controlCommand(supervisord []string) []string {
	at := slices.IndexFunc(supervisord, isSupervisord)
	program := supervisord[at]
	command := []string{"supervisorctl"}
	if filepath.IsAbs(program) {
		command[0] = filepath.Join(filepath.Dir(program), "supervisorctl")
	}
	for i, word := range supervisord {
		if value, ok := strings.CutPrefix(word, "--configuration="); ok {
			return append(command, "-c", value)
		}
		if (word == "-c" || word == "--configuration") && i+1 < len(supervisord) {
			return append(command, "-c", supervisord[i+1])
		}
	}
	return command
}

// findProgram returns the server that supervisord runs under that name.
func findProgram(ctx context.Context, name string) (*Server, error) {
	pids, err := proc.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		m, ok, err := supervisordOf(pid)
		if err != nil || !ok || m.Program != name && !strings.HasSuffix(m.Program, ":"+name) {
			continue // processes end while they are looked at
		}
		top, err := topServer(pid)
		if err != nil {
			return nil, err
		}
		if top != 0 {
			return describe(ctx, top)
		}
	}
	return nil, &NotFoundError{
		Target: name,
		Why:    "no systemd unit, supervisord program or process of this name listens: ss -ltnxp lists those that do",
	}
}
