package eject

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/setup"
)

// Instance stands in a command for the number of a copy, from 0.
const Instance = "{instance}"

// Header begins each unit that superctl eject writes.
const Header = "# Written by superctl eject.\n"

// Site is what the plain units run.
type Site struct {
	Name   string // of the units, without their suffix
	App    string
	Dir    string // working directory: the link to the current release, or the release
	Bin    string // directory of the virtualenv's programs, "" = none
	Listen Listen
	Env    []string // NAME=VALUE

	Programs []Program // the first is the web server, which gets the listener as descriptor 3
}

// Listen is the address of the web server.
type Listen struct {
	Address string // host:port, or unix:PATH
	Path    string // of a unix socket, "" = TCP
	Backlog int
	Mode    fs.FileMode // of a unix socket
	Owner   string
	Group   string
}

// Program is a process of the app.
type Program struct {
	Name    string
	Command []string // its program as systemd finds it: an absolute path, or a name in systemd's own PATH
	User    string   // "" = root
	Group   string   // "" = the user's own
	Env     []string // NAME=VALUE, in addition to those of the site
	Notify  bool     // it reports READY=1
	Signal  string   // on which it finishes its requests; "" = SIGTERM
	Drain   time.Duration
	// NoListenFDs keeps the variables of socket activation from a server that takes descriptors by
	// option: it would take the listener a second time.
	NoListenFDs bool
	// Copies is how many run. Only a program without a listener can have several.
	Copies    int
	After     []string // programs that start before it
	NoFile    uint64   // 0 = the default
	MemoryMax uint64   // bytes; 0 = no limit
	CPUWeight uint64   // 0 = the default
}

const unitDir = "/etc/systemd/system"

// Socket returns the name of the socket unit.
func (s *Site) Socket() string { return s.Name + ".socket" }

// Service returns the name of the service with the listener.
func (s *Site) Service() string { return s.Name + ".service" }

// Others returns the names of the other services.
func (s *Site) Others() (list []string) {
	for _, p := range s.Programs[1:] {
		list = append(list, s.unitsOf(p)...)
	}
	return list
}

// unitsOf returns the units of a program without a listener; several copies are one template.
func (s *Site) unitsOf(p Program) (list []string) {
	if p.Name == s.Programs[0].Name {
		return []string{s.Service()}
	}
	if p.Copies <= 1 {
		return []string{s.Name + "-" + p.Name + ".service"}
	}
	for i := range p.Copies {
		list = append(list, fmt.Sprintf("%s-%s@%d.service", s.Name, p.Name, i))
	}
	return list
}

// Files returns the units and the file of their variables.
func (s *Site) Files() (list []setup.File) {
	add := func(name, text string) {
		list = append(list, setup.File{Path: filepath.Join(unitDir, name), Mode: 0o644, Content: Header + text})
	}
	if len(s.Env) > 0 {
		list = append(list, variables(s.envPath(), s.Env))
	}
	for _, p := range s.Programs {
		if len(p.Env) > 0 {
			list = append(list, variables(s.ownEnvPath(p), p.Env))
		}
	}
	add(s.Socket(), s.socketText())
	add(s.Service(), s.serviceText(s.Programs[0], true))
	for _, p := range s.Programs[1:] {
		name := s.Name + "-" + p.Name + ".service"
		if p.Copies > 1 {
			name = s.Name + "-" + p.Name + "@.service"
		}
		add(name, s.serviceText(p, false))
	}
	return list
}

func (s *Site) envPath() string { return filepath.Join("/etc/superctl", s.Name+".eject.env") }

func (s *Site) ownEnvPath(p Program) string {
	return filepath.Join("/etc/superctl", s.Name+"-"+p.Name+".eject.env")
}

// variables returns a file of variables, whose values are not shown.
func variables(path string, env []string) setup.File {
	var text, shown strings.Builder
	text.WriteString(Header)
	shown.WriteString(Header)
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		text.WriteString(name + "=" + quote(value) + "\n")
		shown.WriteString(name + "=***\n")
	}
	return setup.File{Path: path, Mode: 0o600, Content: text.String(), Shown: shown.String(), Secret: true}
}

// quote quotes a value of an EnvironmentFile= (systemd.exec(5)).
func quote(value string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

// escape escapes the specifiers in a value of a unit (systemd.unit(5)).
func escape(value string) string { return strings.ReplaceAll(value, "%", "%%") }

// lines are the lines of a unit.
type lines struct{ strings.Builder }

func (l *lines) add(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

// given adds a line unless its value is the default.
func (l *lines) given(name, value string) {
	if value != "" && value != "0" {
		l.add("%s=%s", name, value)
	}
}

func (s *Site) socketText() string {
	var l lines
	l.add("[Unit]\nDescription=%s, the address\n\n[Socket]", s.App)
	if s.Listen.Path == "" {
		l.add("ListenStream=%s\nReusePort=yes", s.Listen.Address)
	} else {
		l.add("ListenStream=%s\nSocketMode=%04o", escape(s.Listen.Path), s.Listen.Mode)
		l.given("SocketUser", s.Listen.Owner)
		l.given("SocketGroup", s.Listen.Group)
	}
	l.add("Backlog=%d\n\n[Install]\nWantedBy=sockets.target", s.Listen.Backlog)
	return l.String()
}

func (s *Site) serviceText(p Program, listens bool) string {
	var l lines
	l.add("[Unit]\nDescription=%s, %s\nStartLimitIntervalSec=0", s.App, p.Name)
	s.relations(&l, p, listens)
	kind := "exec"
	if p.Notify {
		kind = "notify"
	}
	l.add("\n[Service]\nType=%s", kind)
	l.given("User", p.User)
	l.given("Group", p.Group)
	l.add("WorkingDirectory=%s", escape(s.Dir))
	if s.Bin != "" {
		l.add("Environment=PATH=%s:/usr/local/bin:/usr/bin:/bin VIRTUAL_ENV=%s", escape(s.Bin), escape(filepath.Dir(s.Bin)))
	}
	if len(s.Env) > 0 {
		l.add("EnvironmentFile=%s", s.envPath())
	}
	if len(p.Env) > 0 {
		l.add("EnvironmentFile=%s", s.ownEnvPath(p))
	}
	if listens && p.NoListenFDs {
		l.add("# the command names the descriptor; by these variables the server would take it a second time")
		l.add("UnsetEnvironment=LISTEN_FDS LISTEN_PID LISTEN_FDNAMES")
	}
	l.add("ExecStart=%s\nRestart=always\nRestartSec=1\nKillMode=mixed", s.commandLine(p.Command))
	l.given("KillSignal", p.Signal)
	l.add("TimeoutStopSec=%d", int(p.Drain.Seconds())+5)
	l.given("LimitNOFILE", fmt.Sprint(p.NoFile))
	l.given("MemoryMax", fmt.Sprint(p.MemoryMax))
	l.given("CPUWeight", fmt.Sprint(p.CPUWeight))
	l.add("\n[Install]\nWantedBy=multi-user.target")
	return l.String()
}

// relations adds how a service relates to other units. A background process and superctl never run
// at once, so that no task is sent or done twice: neither by a second beat, nor after a takeover.
func (s *Site) relations(l *lines, p Program, listens bool) {
	after := []string{"network-online.target"}
	if listens {
		l.add("Requires=%s", s.Socket())
	} else {
		l.add("Conflicts=superctl@%s.service", s.App)
		after = append(after, "superctl@"+s.App+".service")
	}
	for _, other := range s.Programs {
		if slices.Contains(p.After, other.Name) {
			after = append(after, s.unitsOf(other)...)
		}
	}
	l.add("After=%s\nWants=network-online.target", strings.Join(after, " "))
}

// commandLine returns a command in the notation of ExecStart= (systemd.service(5), "Command lines").
func (s *Site) commandLine(args []string) string {
	words := make([]string, len(args))
	for i, word := range args {
		words[i] = strings.NewReplacer("%", "%%", "$", "$$", Instance, "%i").Replace(word)
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\;") {
			words[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(words[i]) + `"`
		}
	}
	return strings.Join(words, " ")
}
