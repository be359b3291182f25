package eject

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"

	"superctl/setup"
)

// Site is what the plain units run.
type Site struct {
	Name    string // of the units, without their suffix
	App     string
	User    string // "" = root
	Dir     string // working directory: the link to the current release, or the release
	Bin     string // directory of the virtualenv's programs, "" = none
	Address string // of the listener: host:port
	Backlog int
	Env     []string // NAME=VALUE

	Programs []Program // the first is the web server, which gets the listener as descriptor 3
}

// Program is a process of the app.
type Program struct {
	Name    string
	Command []string
	Notify  bool   // it reports READY=1
	Signal  string // on which it finishes its requests; "" = SIGTERM
	Drain   time.Duration
	// Copies is how many run. Only a program without a listener can have several.
	Copies int
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
		list = append(list, setup.File{Path: filepath.Join(unitDir, name), Mode: 0o644, Content: "# Written by superctl eject.\n" + text})
	}
	if len(s.Env) > 0 {
		list = append(list, s.variables())
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

// variables returns the file of the variables, whose values are not shown.
func (s *Site) variables() setup.File {
	var text, shown strings.Builder
	for _, kv := range s.Env {
		name, value, _ := strings.Cut(kv, "=")
		text.WriteString(name + "=" + quote(value) + "\n")
		shown.WriteString(name + "=***\n")
	}
	return setup.File{Path: s.envPath(), Mode: 0o600, Content: text.String(), Shown: shown.String(), Secret: true}
}

// quote quotes a value of an EnvironmentFile= (systemd.exec(5)).
func quote(value string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

func (s *Site) socketText() string {
	return fmt.Sprintf(`[Unit]
Description=%s, the address

[Socket]
ListenStream=%s
ReusePort=yes
Backlog=%d

[Install]
WantedBy=sockets.target
`, s.App, s.Address, s.Backlog)
}

func (s *Site) serviceText(p Program, listens bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=%s, %s\nAfter=network-online.target\nWants=network-online.target\n", s.App, p.Name)
	if listens {
		fmt.Fprintf(&b, "Requires=%s\n", s.Socket())
	}
	b.WriteString("\n[Service]\n")
	kind := "exec"
	if p.Notify {
		kind = "notify"
	}
	fmt.Fprintf(&b, "Type=%s\n", kind)
	if s.User != "" {
		fmt.Fprintf(&b, "User=%s\n", s.User)
	}
	fmt.Fprintf(&b, "WorkingDirectory=%s\n", s.Dir)
	if s.Bin != "" {
		fmt.Fprintf(&b, "Environment=PATH=%s:/usr/local/bin:/usr/bin:/bin VIRTUAL_ENV=%s\n", s.Bin, filepath.Dir(s.Bin))
	}
	if len(s.Env) > 0 {
		fmt.Fprintf(&b, "EnvironmentFile=%s\n", s.envPath())
	}
	fmt.Fprintf(&b, "ExecStart=%s\nRestart=always\nKillMode=mixed\n", s.commandLine(p.Command))
	if p.Signal != "" {
		fmt.Fprintf(&b, "KillSignal=%s\n", p.Signal)
	}
	fmt.Fprintf(&b, "TimeoutStopSec=%d\n\n[Install]\nWantedBy=multi-user.target\n", int(p.Drain.Seconds())+5)
	return b.String()
}

// commandLine returns a command in the notation of ExecStart=, which needs an absolute path.
func (s *Site) commandLine(args []string) string {
	words := append([]string{}, args...)
	if !filepath.IsAbs(words[0]) && s.Bin != "" {
		words[0] = filepath.Join(s.Bin, words[0])
	}
	return strings.NewReplacer("%", "%%", "$", "$$").Replace(shellquote.Join(words...))
}
