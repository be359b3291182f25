package setup

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/servers"
)

// DecideImport makes a site of what another supervisor ran. p is the project in the directory of
// the import, and settings is what it says of itself; nil = unknown. The proxy in front is left as
// it is, unless there is a domain for a new one.
func DecideImport(im *Import, p *Project, settings *Settings, m *Machine, a Answers) (*Decision, error) {
	unseen := p == nil
	if unseen {
		p = &Project{Dir: im.Dir, Root: "."}
	}
	a = im.Answers(a)
	d := &decider{project: p, settings: settings, machine: m, answers: a, place: m.layoutOf(p.Dir), imported: true}
	s := &Site{Env: im.Env, Keep: im.Keep, UnitLines: im.Unit, DropIn: im.DropIn, Before: slices.Clone(im.Before)}
	d.out.Site, d.out.Facts = s, slices.Clone(p.Facts)
	if err := d.names(s); err != nil {
		return nil, err
	}
	if unseen && s.Checkout != "" {
		s.Checkout = ""
		d.warn("the project is not on this machine: make a release of it in %s, a directory with the code and its own "+
			"venv/", s.Releases)
	}
	s.Listen = slices.Clone(im.Listen)
	if err := d.importProcesses(im, s); err != nil {
		return nil, err
	}
	d.importListeners(s)
	d.djangoSite(s)
	s.EnvFile = im.EnvFile
	if _, exists, _ := m.Read(EnvPath(s.App)); len(im.Secrets) > 0 || exists {
		s.EnvFile, s.Secrets = EnvPath(s.App), once(im.Secrets)
	}
	d.links(s)
	d.release(s)
	d.answers.NoNginx = a.NoNginx || len(a.Domains) == 0
	if err := d.nginx(s); err != nil {
		return nil, err
	}
	if s.Nginx == nil && !a.NoNginx {
		d.fact("nginx", "left as it is", "--domain makes a site of it")
		d.staticOfNginx(s)
	}
	return &d.out, nil
}

// Answers returns the user's answers, or what the import says where there is none.
func (im *Import) Answers(a Answers) Answers {
	name := appName(im.App)
	generic := []string{
		"gunicorn", "uwsgi", "uvicorn", "web", "app", "django", "supervisord", "circus", "daphne", "hypercorn", "wsgi", "conf",
	}
	if dir := im.Dir; dir != "" && (name == "" || slices.Contains(generic, name)) {
		for slices.Contains([]string{"current", "src", "app", "backend", "releases"}, filepath.Base(dir)) {
			dir = filepath.Dir(dir)
		}
		name = cmp.Or(appName(filepath.Base(dir)), name)
	}
	a.Name = cmp.Or(a.Name, name)
	if im.User != "" && userName.MatchString(im.User) {
		a.User = cmp.Or(a.User, im.User)
	}
	if len(a.Domains) == 0 {
		a.Domains = im.Domains
	}
	return a
}

// once returns the variables without those whose name an earlier one has.
func once(list []Variable) (out []Variable) {
	for _, v := range list {
		if !slices.ContainsFunc(out, func(o Variable) bool { return o.Name == v.Name }) {
			out = append(out, v)
		}
	}
	return out
}

// importProcesses takes over the processes. What the import does not say of the web is decided as
// for a new project.
func (d *decider) importProcesses(im *Import, s *Site) error {
	for _, p := range im.Processes {
		if p.Command == "" {
			command, _, err := d.command()
			if err != nil {
				return err
			}
			if im.GunicornConfig != "" {
				words := strings.Fields(command)
				command = "gunicorn --config " + im.GunicornConfig + " " + words[len(words)-1]
			}
			p.Command = command
		}
		if d.answers.Command != "" && (p.Name == "web" || len(im.Processes) == 1) {
			p.Command = d.answers.Command
		}
		if len(p.Listen) == 0 && isServer(p.Command) {
			name := p.Name
			s.Listen = append(s.Listen, Listener{Name: name, Address: d.machine.address(cmp.Or(s.App, name))})
			p.Listen = []string{name}
		}
		if len(p.Listen) > 0 {
			own := p.Health
			p.Health = nil
			if len(own) == 0 {
				p.Health = d.health()
			} else {
				p.Health = append(own, d.asProxied(d.settings)...)
			}
		}
		s.Processes = append(s.Processes, p)
	}
	// nginx is in front of the first listener
	slices.SortStableFunc(s.Processes, func(a, b Process) int { return len(b.Listen) - len(a.Listen) })
	if len(s.Processes) == 0 {
		return &UnknownError{"command", "the command to run", `--command "gunicorn shop.wsgi"`}
	}
	return nil
}

// isServer reports whether a command runs a server that superctl hands a listener.
func isServer(command string) bool {
	list, err := shellquote.Split(command)
	if err != nil {
		return false
	}
	applied := servers.Apply(servers.Input{Command: list})
	return applied.Server != "generic" && applied.Server != "node"
}

// importListeners moves unix sockets to where superctl may make them.
func (d *decider) importListeners(s *Site) {
	used := map[string]bool{}
	for _, p := range s.Processes {
		for _, l := range p.Listen {
			used[l] = true
		}
	}
	s.Listen = slices.DeleteFunc(s.Listen, func(l Listener) bool { return !used[l.Name] })
	for i := range s.Listen {
		l := &s.Listen[i]
		if d.answers.Address != "" && i == 0 {
			l.Address = d.answers.Address
		}
		path, isUnix := strings.CutPrefix(l.Address, "unix:")
		if isUnix && d.answers.InPlace {
			s.socketDirectory(filepath.Dir(path))
			continue
		}
		if !isUnix || under(path, s.Base) || under(path, "/run/superctl") || under(path, "/tmp") {
			continue
		}
		l.Address = "unix:/run/superctl/" + s.App + "-" + l.Name + ".sock"
		d.warn("the app's user cannot make a socket in %s: it is %s now, which the proxy in front has to be told",
			filepath.Dir(path), strings.TrimPrefix(l.Address, "unix:"))
	}
}

// socketDirectory has the unit make the directory of a socket: one below /run is lost at a reboot.
// RuntimeDirectory= would not do, because systemd then tells superctl another RUNTIME_DIRECTORY.
func (s *Site) socketDirectory(dir string) {
	switch {
	case under(dir, s.Base) || under(dir, "/run/superctl") || under(dir, "/tmp") || !safePath(dir):
	case under(dir, "/run") && dir != "/run":
		s.DropIn = append(s.DropIn, "# the directory of the socket",
			"ExecStartPre=+/usr/bin/install -d -o "+s.User+" "+dir, "ReadWritePaths=-"+dir)
	default:
		s.Writable = append(s.Writable, dir)
	}
}
