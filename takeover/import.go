package takeover

import (
	"fmt"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/proc"
	"superctl/setup"
	"superctl/setup/importer"
	"superctl/takeover/running"
)

// Import describes a server that no unit describes: as a unit would that starts the same process.
func Import(s *running.Server) (*setup.Import, error) {
	var b strings.Builder
	b.WriteString("[Service]\n")
	if u, err := user.LookupId(strconv.FormatUint(uint64(s.UID), 10)); err == nil {
		b.WriteString("User=" + u.Username + "\n")
	}
	fmt.Fprintf(&b, "WorkingDirectory=%s\n", s.Dir)
	env, err := proc.Environ(s.Master.PID)
	if err != nil {
		return nil, err
	}
	for name, value := range env.All() {
		if !common(name) {
			fmt.Fprintf(&b, "Environment=%s\n", unitQuote(name+"="+value))
		}
	}
	fmt.Fprintf(&b, "ExecStart=%s\n", commandLine(s.Args))
	source := importer.Source{Name: appName(s) + ".service"}
	return source.Read(importer.File{Path: fmt.Sprintf("process %d.service", s.Master.PID), Text: b.String()})
}

// appName returns a name for the app: that of its program in supervisord, else that of its directory.
func appName(s *running.Server) string {
	if s.Manager.Program != "" {
		return s.Manager.Program
	}
	if releases := filepath.Dir(s.Dir); filepath.Base(releases) == "releases" {
		return filepath.Base(filepath.Dir(releases))
	}
	return filepath.Base(s.Dir)
}

// commandLine returns a command in the notation of ExecStart=. A script is named without its
// interpreter, as in a shell.
func commandLine(args []string) string {
	if len(args) > 1 && strings.HasPrefix(filepath.Base(args[0]), "python") && filepath.IsAbs(args[1]) {
		args = args[1:]
	}
	return strings.NewReplacer("%", "%%", "$", "$$").Replace(shellquote.Join(args...))
}

// unitQuote quotes a word in the notation of units (systemd.syntax(7)).
func unitQuote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(text) + `"`
}

// common reports whether a variable is of the session or the manager that started the server, and
// not of the app.
func common(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "TERM", "LANG", "MAIL", "_", "VIRTUAL_ENV",
		"PS1", "LS_COLORS", "HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "MEMORY_PRESSURE_WATCH",
		"MEMORY_PRESSURE_WRITE", "SYSTEMD_EXEC_PID", "MANAGERPID", "SERVER_SOFTWARE", "DBUS_SESSION_BUS_ADDRESS":
		return true
	}
	for _, prefix := range []string{"LC_", "SSH_", "XDG_", "SUDO_", "SUPERVISOR_", "LISTEN_", "GUNICORN_FD", "UWSGI_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
