package setup

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/servers"
)

// File is a file of root's that a plan writes.
type File struct {
	Path    string
	Mode    uint32
	Reader  string // user whose group may read it; "" = root's
	Content string
	Shown   string // Content without the values of secrets; "" = Content
	Old     string // what is there now
	Exists  bool
	Secret  bool // it has values that are never shown, and is never replaced
}

// Changed reports whether the plan writes the file.
func (f *File) Changed() bool { return !f.Exists || !f.Secret && f.Old != f.Content }

// Replaces reports whether the plan overwrites a file that another person may have edited.
func (f *File) Replaces() bool { return f.Exists && f.Changed() }

// Command is a command of a plan.
type Command struct {
	Args []string
	Why  string
}

// String returns the command as a shell reads it.
func (c Command) String() string { return shellquote.Join(c.Args...) }

// Plan is what makes a site on a machine. Before run before the files are written, After run after.
type Plan struct {
	App           string
	Before, After []Command
	Files         []File
	Next          []Command // for the user, when the plan was applied
}

// Empty reports whether there is nothing to do.
func (p *Plan) Empty() bool {
	return len(p.Before) == 0 && len(p.After) == 0 && !slices.ContainsFunc(p.Files, func(f File) bool { return f.Changed() })
}

// NewPlan compares a site with the machine. random makes the value of a secret that any text will do
// for.
func NewPlan(s *Site, m *Machine, random func() string) (*Plan, error) {
	p := &Plan{App: s.App}
	p.user(s, m)
	p.directories(s, m)
	if err := p.files(s, m, random); err != nil {
		return nil, err
	}
	p.reloads(s)
	p.next(s, m)
	return p, nil
}

func (p *Plan) before(why string, args ...string) { p.Before = append(p.Before, Command{args, why}) }

// user makes the app's user. Its home is made as a directory of the app, because useradd may make it
// with a mode that keeps nginx out.
func (p *Plan) user(s *Site, m *Machine) {
	if !m.HasUser(s.User) {
		p.before("the user that the app runs as", "useradd", "--system", "--home-dir", s.Base, "--no-create-home",
			"--shell", "/usr/sbin/nologin", s.User)
	}
	for _, l := range s.Listen {
		if l.Group != "" && !m.InGroup(s.User, l.Group) {
			p.before("nginx connects to the socket", "usermod", "--append", "--groups", l.Group, s.User)
		}
	}
}

// directories makes the app's directories. What is below a directory of the app's user is made as
// that user: root would follow a link that the user has put there.
func (p *Plan) directories(s *Site, m *Machine) {
	for _, sh := range s.Shared {
		if link := filepath.Join(s.Release, sh.Path); s.Release != "" && m.Owner(link) == "" {
			p.before("", "ln", "-s", "-T", sh.Target, link) // while all above it is root's
		}
	}
	switch m.Owner(s.Base) {
	case "":
		p.before("", "install", "-d", "-o", s.User, "-g", s.User, "-m", "755", s.Base)
	case rootUser:
		p.before("it makes the link current there", "chown", "--no-dereference", s.User+":", s.Base)
	}
	as := func(args ...string) []string { return append([]string{"runuser", "-u", s.User, "--"}, args...) }
	var missing []string
	for _, dir := range s.ownDirectories() {
		if m.Owner(dir) == "" && !slices.Contains(missing, dir) {
			missing = append(missing, dir)
		}
	}
	if len(missing) > 0 {
		p.before("", as(append([]string{"mkdir", "-p"}, missing...)...)...)
	}
	for _, sh := range s.Shared {
		if sh.File && m.Owner(sh.Target) == "" {
			p.before("each release has a link to it", as("touch", sh.Target)...)
		}
	}
}

// ownDirectories returns the directories that the app's user must have.
func (s *Site) ownDirectories() []string {
	list := []string{s.Releases}
	for _, sh := range s.Shared {
		dir := sh.Target
		if sh.File {
			dir = filepath.Dir(sh.Target)
		}
		list = append(list, dir)
	}
	if s.Assets != nil {
		list = append(list, s.Assets.To)
	}
	for _, pr := range s.Processes {
		if strings.Contains(pr.Command, s.Base+"/data/") {
			list = append(list, filepath.Join(s.Base, "data"))
		}
	}
	return list
}

func (p *Plan) files(s *Site, m *Machine, random func() string) error {
	list := []File{{Path: ConfigPath(s.App), Mode: 0o644, Content: s.Config()}}
	if s.EnvFile == EnvPath(s.App) {
		list = append(list, File{
			Path: s.EnvFile, Mode: 0o640, Reader: s.User, Secret: true, Content: s.envText(random, envQuote),
			Shown: s.envText(func() string { return hidden }, func(string) string { return hidden }),
		})
	}
	if text := s.dropIn(); text != "" {
		list = append(list, File{Path: dropInPath(s.App), Mode: 0o644, Content: text})
	}
	if s.Nginx != nil {
		list = append(list, File{Path: nginxPath(s.App), Mode: 0o644, Content: s.Nginx.Text(s.App)})
	}
	for _, f := range list {
		var err error
		if f.Old, f.Exists, err = m.Read(f.Path); err != nil {
			return err
		}
		p.Files = append(p.Files, f)
	}
	return nil
}

// hidden stands in the place of a value.
const hidden = "***"

// envText returns the file of secrets.
func (s *Site) envText(random func() string, quote func(string) string) string {
	var b strings.Builder
	b.WriteString("# Secrets of " + s.App + ": NAME=VALUE lines as in systemd's EnvironmentFile=. superctl reload applies a change.\n")
	for _, v := range s.Secrets {
		switch {
		case v.Value != "":
			b.WriteString(v.Name + "=" + quote(v.Value) + "\n")
		case v.Name == secretKey:
			b.WriteString(v.Name + "=" + random() + "\n")
		default:
			b.WriteString("# the settings need it:\n#" + v.Name + "=\n")
		}
	}
	return b.String()
}

// envQuote quotes a value of a file of variables, where it has to be (systemd.exec(5),
// EnvironmentFile=).
func envQuote(value string) string {
	if value != "" && strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,?&-") == "" {
		return value
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

// dropInPath returns the path of the drop-in of an app's unit.
func dropInPath(app string) string {
	return filepath.Join(unitDir, "superctl@"+app+".service.d", "init.conf")
}

// dropIn returns what the packaged unit does not say of this app, or "".
func (s *Site) dropIn() string {
	var lines []string
	if s.User != s.App {
		lines = append(lines, "# the app's user is not named after it", "User="+s.User)
	}
	for _, l := range s.Listen {
		_, text, _ := cutLast(l.Address, ":")
		if port, err := strconv.Atoi(text); err == nil && port < 1024 {
			lines = append(lines, "# a port below 1024", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
				"AmbientCapabilities=CAP_NET_BIND_SERVICE")
			break
		}
	}
	writable := slices.Clone(s.Writable)
	if s.Base != filepath.Join(defaultTop, s.App) {
		writable = append([]string{s.Base}, writable...)
	}
	for _, dir := range writable {
		if under(dir, "/home") || under(dir, "/root") {
			lines = append(lines, "# the unit hides /home otherwise", "ProtectHome=no")
			break
		}
	}
	if len(writable) > 0 {
		lines = append(lines, "# the app writes here; the unit makes the rest read-only",
			"ReadWritePaths="+strings.Join(writable, " "))
	}
	lines = append(lines, s.DropIn...)
	text := ""
	if len(s.UnitLines) > 0 {
		text = "[Unit]\n" + strings.Join(s.UnitLines, "\n") + "\n"
	}
	if len(lines) > 0 {
		text += "[Service]\n" + strings.Join(lines, "\n") + "\n"
	}
	if text == "" {
		return ""
	}
	return "# " + dropInPath(s.App) + ": written by superctl init.\n" + text
}

func (p *Plan) after(why string, args ...string) { p.After = append(p.After, Command{args, why}) }

// reloads makes systemd and nginx read the files that change.
func (p *Plan) reloads(s *Site) {
	for _, f := range p.Files {
		switch {
		case !f.Changed():
		case f.Path == dropInPath(s.App):
			p.after("", "systemctl", "daemon-reload")
		case f.Path == nginxPath(s.App):
			p.after("", "nginx", "-t", "-q")
			p.after("", "systemctl", "reload-or-restart", "nginx")
		}
	}
}

// next lists what the user does when the plan was applied.
func (p *Plan) next(s *Site, m *Machine) {
	unit := "superctl@" + s.App
	step := func(why string, args ...string) { p.Next = append(p.Next, Command{args, why}) }
	bundles := ""
	if s.Checkout != "" {
		var build []string
		build, bundles = s.build(m)
		step("the commit that is checked out", build...)
	}
	step("", "superctl", "--app", s.App, "check")
	step("", "systemctl", "enable", "--now", unit)
	if s.Checkout != "" {
		step("the file that the build has named", "runuser", "-u", s.User, "--", "superctl", "--app", s.App, "deploy",
			filepath.Join(bundles, s.App+"-VERSION.tar.zst"))
	} else {
		step("", "superctl", "--app", s.App, "switch", "latest")
	}
	if n := s.Nginx; n != nil && n.Cert == "" && m.Program("certbot") {
		domain := strings.TrimPrefix(cmp.Or(n.Domains...), ".")
		step("then again: superctl init --apply --replace", "certbot", "certonly", "--nginx", "--domain", domain)
	}
}

// build returns the command that builds a release of a checkout, and the directory for the bundle. Its
// owner runs it, because git reads no repository of another user.
func (s *Site) build(m *Machine) (args []string, bundles string) {
	bundles = "/var/tmp"
	owner := m.Owner(s.Checkout)
	if owner == s.User {
		bundles = s.Base
	}
	if owner != rootUser && owner != "" {
		args = []string{"runuser", "-u", owner, "--"}
	}
	if s.Collect != nil && len(s.Collect.Env) > 0 {
		args = append(args, "env")
		for _, v := range s.Collect.Env {
			args = append(args, v.Name+"="+v.Value)
		}
	}
	return append(append(args, "superctl"), s.BuildArgs(bundles)...), bundles
}

// BuildArgs returns the arguments of superctl that build a release of the checkout, with the bundle
// in a directory.
func (s *Site) BuildArgs(bundles string) []string {
	args := []string{"build", s.Checkout, "--name", s.App, "--output", bundles}
	if s.Collect != nil {
		args = append(args, "--run", s.Collect.Command, "--include", s.Collect.Path)
	}
	return args
}

// Replaced are the units of systemd or the programs of supervisord that an app replaces. The first is
// the server's.
type Replaced struct {
	Names []string
	Stop  []string // the command that stops those whose names follow
}

// Replace says in the next steps that the app replaces what ran it before. Where it listens on other
// addresses, both run until nginx is told.
func (p *Plan) Replace(old Replaced, im *Import, s *Site) {
	stop := slices.Concat(old.Stop, old.Names)
	for _, l := range s.Listen {
		if !slices.ContainsFunc(im.Listen, func(o Listener) bool { return o.Address == l.Address }) {
			continue
		}
		if canTakeOver(s) {
			p.takeOver(old, s)
			return
		}
		p.Next = append([]Command{{stop, "the site is down from here until the switch"}}, p.Next...)
		return
	}
	if len(s.Listen) > 0 && s.Nginx == nil {
		p.Next = append(p.Next, Command{
			[]string{"nginx", "-s", "reload"},
			"when you have changed its proxy_pass or uwsgi_pass to " + s.Listen[0].Address,
		})
	}
	p.Next = append(p.Next, Command{stop, "its last requests are answered"})
}

// canTakeOver reports whether superctl takeover replaces the site's server.
func canTakeOver(s *Site) bool {
	list, err := shellquote.Split(s.Processes[0].Command)
	if err != nil {
		return false
	}
	return slices.Contains([]string{"gunicorn", "uwsgi", "uvicorn"}, servers.Apply(servers.Input{Command: list}).Server)
}

// takeOver replaces the steps that make a release live by superctl takeover, which builds a release
// of a checkout, starts the daemon and switches by itself.
func (p *Plan) takeOver(old Replaced, s *Site) {
	take := []string{"superctl", "takeover", old.Names[0]}
	if s.Checkout != "" {
		take = append(take, "--build")
	}
	take = append(take, "--apply")
	if strings.TrimSuffix(old.Names[0], ".service") != s.App {
		take = append(take, "--name", s.App)
	}
	p.Next = []Command{{take, "on the same address, without losing a request"}}
	if len(old.Names) > 1 {
		p.Next = append(p.Next, Command{slices.Concat(old.Stop, old.Names[1:]), ""})
	}
}
