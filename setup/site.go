package setup

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Answers are what the user has said. An empty field is decided by what was found.
type Answers struct {
	Name, User, Base, Address, Command, Health string

	Domains   []string
	Cert, Key string
	Workers   int
	NoNginx   bool
	InPlace   bool // unix sockets stay where they are: the app replaces the server that has made them
}

// Decision is a site, and what the user should know of it.
type Decision struct {
	Site     *Site
	Facts    []Fact
	Warnings []string
}

// decider makes the decisions for one project on one machine.
type decider struct {
	project  *Project
	settings *Settings // nil = unknown
	machine  *Machine
	answers  Answers
	place    layout
	imported bool // its data are where another supervisor's app has them
	out      Decision
}

// Decide makes a site of a project. settings is nil if the project has none or could not be asked.
// It returns an UnknownError for what only the user knows.
func Decide(p *Project, s *Settings, m *Machine, a Answers) (*Decision, error) {
	d := &decider{project: p, settings: s, machine: m, answers: a, place: m.layoutOf(p.Dir)}
	site := &Site{}
	d.out.Site, d.out.Facts = site, slices.Clone(p.Facts)
	if err := d.names(site); err != nil {
		return nil, err
	}
	if err := d.web(site); err != nil {
		return nil, err
	}
	d.background(site)
	d.djangoSite(site)
	d.variables(site)
	d.links(site)
	d.release(site)
	if err := d.nginx(site); err != nil {
		return nil, err
	}
	return &d.out, nil
}

// Names returns the app's name and its user, which a project needs to be asked for its settings.
func Names(p *Project, m *Machine, a Answers) (app, user string, err error) {
	d := &decider{project: p, machine: m, answers: a, place: m.layoutOf(p.Dir)}
	var s Site
	err = d.names(&s)
	return s.App, s.User, err
}

func (d *decider) warn(format string, args ...any) {
	d.out.Warnings = append(d.out.Warnings, fmt.Sprintf(format, args...))
}

func (d *decider) fact(name, value, source string) {
	d.out.Facts = append(d.out.Facts, Fact{Name: name, Value: value, Source: source})
}

// names decides the app's name, its user and its directories.
func (d *decider) names(s *Site) error {
	base := d.place.base
	if base == "" {
		base = d.project.Dir
	}
	s.App = cmp.Or(d.answers.Name, appName(filepath.Base(base)))
	if s.App == "" || s.App != appName(s.App) {
		return &UnknownError{"name", "a name for the app, of lowercase letters, digits, - and _,", "--name shop"}
	}
	s.Base = cmp.Or(d.answers.Base, d.place.base, filepath.Join(defaultTop, s.App))
	s.Releases, s.Current = filepath.Join(s.Base, "releases"), filepath.Join(s.Base, "current")
	s.User = d.answers.User
	if owner := d.machine.Owner(s.Releases); s.User == "" && owner != "" && owner != rootUser {
		s.User = owner
		d.fact("user", owner, "owner of "+s.Releases)
	}
	s.User = cmp.Or(s.User, s.App)
	if s.User == rootUser || !userName.MatchString(s.User) {
		return &UnknownError{"user", "a user without privileges for the app", "--user " + s.App}
	}
	if !safePath(s.Base) {
		return &UnknownError{"base", "a directory for the app, of letters, digits and -_.@+,", "--base /srv/" + s.App}
	}
	if d.isCheckout() {
		s.Checkout, s.Python = d.project.Dir, d.project.Python
	}
	return nil
}

const rootUser = "root"

// userName matches the names of users (useradd(8)).
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// workers returns the number of web workers: one for each processor, at least two.
func (d *decider) workers() int {
	if d.answers.Workers > 0 {
		return d.answers.Workers
	}
	return min(max(d.machine.CPUs, 2), maxWorkers)
}

// maxWorkers bounds the workers of a large machine, which may have less memory than processors.
const maxWorkers = 8

// web decides the listener and the command of the web process.
func (d *decider) web(s *Site) error {
	address := cmp.Or(d.answers.Address, d.machine.address(s.App))
	l := Listener{Name: "web", Address: address}
	if strings.HasPrefix(address, "unix:") {
		l.Mode = "0660"
		if d.machine.Program("nginx") && !d.answers.NoNginx {
			l.Group = "www-data"
		}
	}
	s.Listen = []Listener{l}
	command, comment, err := d.command()
	if err != nil {
		return err
	}
	s.Processes = []Process{{
		Name: "web", Command: command, Comment: comment, Listen: []string{"web"}, Health: d.health(),
	}}
	return nil
}

// command returns the command that serves the project.
func (d *decider) command() (command, comment string, err error) {
	if d.answers.Command != "" {
		return d.answers.Command, "", nil
	}
	p := d.project
	wsgi, asgi := p.WSGI, p.ASGI
	if s := d.settings; s != nil && p.Framework == "Django" && s.ASGI == "" && wsgi != "" {
		asgi = ""
	}
	asgiServer := firstOf(p, "uvicorn", "hypercorn", "granian", "daphne")
	wsgiServer := firstOf(p, "gunicorn", "uwsgi", "waitress", "granian", "cheroot", "pyuwsgi")
	switch {
	case asgi != "" && (wsgi == "" || asgiServer != "" && (wsgiServer == "" || p.has("channels"))):
		if asgiServer == "" {
			asgiServer = "uvicorn"
			d.warn("no ASGI server is among the dependencies: add uvicorn")
		}
		return d.serve(asgiServer, asgi, true), "no --host or --port: superctl hands the listener over", nil
	case wsgi != "":
		if wsgiServer == "" {
			wsgiServer = "gunicorn"
			d.warn("no WSGI server is among the dependencies: add gunicorn")
		}
		return d.serve(wsgiServer, wsgi, false), "no --bind: superctl hands the listener over", nil
	}
	return "", "", &UnknownError{"command", "the command that serves " + p.Dir, `--command "gunicorn shop.wsgi"`}
}

func firstOf(p *Project, names ...string) string {
	for _, name := range names {
		if p.has(name) {
			return name
		}
	}
	return ""
}

// serve returns the command of a server for an app.
func (d *decider) serve(server, app string, asgi bool) string {
	root, n := d.project.Root, strconv.Itoa(d.workers())
	in := func(option string) string {
		if root == "." {
			return ""
		}
		return " " + option + " " + root
	}
	if module, attr, _ := strings.Cut(app, ":"); server == "gunicorn" && attr == "application" {
		app = module // gunicorn's default
	}
	isFactory := d.project.Factory
	switch server {
	case "uvicorn":
		return "uvicorn --workers " + n + in("--app-dir") + " " + flaggedApp("--factory", app, isFactory)
	case "hypercorn":
		return "hypercorn" + factoryCall(app, isFactory)
	case "granian":
		kind := "wsgi"
		if asgi {
			kind = "asgi"
		}
		return "granian --interface " + kind + " --workers " + n + in("--working-dir") + " " + flaggedApp("--factory", app, isFactory)
	case "daphne":
		return "daphne " + app
	case "uwsgi", "pyuwsgi":
		return "uwsgi --processes " + n + " --threads 4 --enable-threads" + in("--chdir") + " --module " +
			strings.TrimSpace(factoryCall(app, isFactory))
	case "waitress":
		return "waitress-serve --threads 8 " + flaggedApp("--call", app, isFactory)
	case "cheroot":
		return "python -m cheroot" + factoryCall(app, isFactory)
	}
	return "gunicorn --workers " + n + " --threads 4" + in("--chdir") + factoryCall(app, isFactory)
}

// factoryCall returns the word for an app, which is a call in quotes for a factory.
func factoryCall(app string, isFactory bool) string {
	if isFactory {
		return " '" + app + "()'"
	}
	return " " + app
}

// flaggedApp returns the word for an app, with an option before it for a factory.
func flaggedApp(flag, app string, isFactory bool) string {
	if isFactory {
		return flag + " " + app
	}
	return app
}

// background adds Celery's processes.
func (d *decider) background(s *Site) {
	p := d.project
	if p.Celery == "" || !p.has("celery") {
		return
	}
	workdir := ""
	if p.Root != "." {
		workdir = " --workdir " + p.Root
	}
	s.Processes = append(s.Processes, Process{
		Name: "worker", Command: "celery --app " + p.Celery + workdir + " worker --loglevel INFO",
		Keys: []Key{
			{"drain", `"10m"`, "longer than the longest task: docs/celery.md"},
			{"ready_after", `"5s"`, "longer than its imports take"},
		},
	})
	if !p.Beat {
		return
	}
	beat := "celery --app " + p.Celery + workdir + " beat --schedule " + filepath.Join(s.Base, "data", "celerybeat-schedule")
	if p.has("django-celery-beat") {
		beat = "celery --app " + p.Celery + workdir + " beat --scheduler django_celery_beat.schedulers:DatabaseScheduler"
	}
	s.Processes = append(s.Processes, Process{
		Name: "beat", Command: beat, Keys: []Key{{"strategy", `"single"`, "two never run at once"}},
	})
}

// domains returns the names under which the site is reached, and the first of them.
func (d *decider) domains() (all []string, first string) {
	all = slices.Clone(d.answers.Domains)
	if len(all) == 0 && d.settings != nil {
		for _, h := range d.settings.AllowedHosts {
			if isDomain(strings.TrimPrefix(h, ".")) {
				all = append(all, h)
			}
		}
	}
	if len(all) > 0 {
		first = strings.TrimPrefix(all[0], ".")
	}
	return all, first
}

// isDomain reports whether a host of ALLOWED_HOSTS is a name of the public.
func isDomain(host string) bool {
	letters := strings.ContainsFunc(host, func(r rune) bool { return r >= 'a' && r <= 'z' })
	return letters && strings.Contains(host, ".") && host != "localhost.localdomain" &&
		strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

// inRelease returns the part of a path below the project, and whether it is there.
func (d *decider) inRelease(at string) (string, bool) {
	for _, dir := range []string{d.project.Dir, d.machine.Real(d.project.Dir)} {
		if rel, err := filepath.Rel(dir, at); err == nil && rel != "." && !strings.HasPrefix(rel, "..") {
			return rel, true
		}
	}
	return "", false
}

// djangoSite adds what Django's settings ask for.
func (d *decider) djangoSite(s *Site) {
	p, set := d.project, d.settings
	if p.Framework != "Django" {
		return
	}
	if !d.imported { // an imported app's migrations run as they did before
		s.Before = []string{"python " + p.Manage + " migrate --noinput"}
	}
	if set == nil {
		return
	}
	d.static(s)
	if !set.SecretKey {
		d.warn(`SECRET_KEY is not set in %s, so Django does not start: SECRET_KEY = os.environ["SECRET_KEY"] takes it from `+
			`the file of secrets`, p.Settings)
	}
	if set.Debug {
		d.warn("DEBUG is on in %s: choose other settings, or set the variable that turns it off", p.Settings)
	}
	if len(set.AllowedHosts) == 0 && !set.Debug {
		d.warn("ALLOWED_HOSTS is empty in %s: Django answers 400 to every request", p.Settings)
	}
	if set.SSLRedirect && len(set.ProxyHeader) != 2 {
		d.warn(`SECURE_SSL_REDIRECT is on, and SECURE_PROXY_SSL_HEADER is not set: behind nginx every page redirects to ` +
			`itself: set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")`)
	}
	if rel, inside := d.inRelease(set.MediaRoot); inside && set.MediaRoot != "" {
		s.Shared = append(s.Shared, Shared{Path: rel, Target: d.sharedAt(s, set.MediaRoot, path.Base(rel))})
	} else if set.MediaRoot != "" {
		d.writable(s, filepath.Clean(set.MediaRoot))
	}
	for _, file := range set.Databases {
		if rel, inside := d.inRelease(file); inside {
			s.Shared = append(s.Shared, Shared{rel, d.sharedAt(s, file, filepath.Join("data", path.Base(rel))), true})
		} else {
			d.writable(s, filepath.Dir(file))
		}
	}
}

// sharedAt returns where releases share a path: in the app's directory or, for an import of an app
// without releases, where its data are now.
func (d *decider) sharedAt(s *Site, now, name string) string {
	if at := d.machine.Real(now); at != now {
		if _, inside := d.inRelease(at); !inside {
			return at // the release has a link to it already
		}
	}
	if !d.imported || !d.isCheckout() {
		return filepath.Join(s.Base, name)
	}
	d.writable(s, filepath.Dir(now))
	return now
}

// isCheckout reports whether the project is no release: it is in no directory releases/.
func (d *decider) isCheckout() bool { return d.place.base == "" || d.place.base == d.project.Dir }

// writable lets the app write to a directory outside its own, which the unit's sandbox forbids.
func (d *decider) writable(s *Site, dir string) {
	switch {
	case under(dir, s.Base) || under(dir, "/tmp") || under(dir, "/var/tmp") || slices.Contains(s.Writable, dir):
	case !safePath(dir) || dir == "/":
		d.warn("the app writes to %q: add it to ReadWritePaths= in a drop-in of superctl@%s.service", dir, s.App)
	default:
		s.Writable = append(s.Writable, dir)
	}
}

// links keeps the links of a Capistrano release into the directory that all releases share.
func (d *decider) links(s *Site) {
	for _, link := range d.project.Links {
		to := link.Target
		if !filepath.IsAbs(to) {
			to = filepath.Join(d.machine.Real(d.project.Dir), path.Dir(link.Path), to)
		}
		shared := filepath.Join(d.place.base, "shared")
		if d.place.base == "" || !under(to, shared) || to == shared {
			continue
		}
		s.Shared = slices.DeleteFunc(s.Shared, func(sh Shared) bool { return under(sh.Path, link.Path) })
		s.Shared = append(s.Shared, Shared{Path: link.Path, Target: to})
		d.fact("shared", link.Path+" -> "+to, "link in the release")
	}
}

// release looks whether superctl can make the shared links in the release, which needs its owner.
func (d *decider) release(s *Site) {
	owner := d.machine.Owner(d.project.Dir)
	if d.place.base == "" || owner == "" || owner == s.User || len(s.Shared) == 0 {
		return
	}
	d.warn("the release belongs to %s, so superctl cannot make the links of [shared] in it: make releases as %s, or "+
		"make the links yourself", owner, s.User)
	// Root makes them only where no other user can exchange a directory for a link.
	if at := d.machine.Real(d.project.Dir); owner == rootUser && d.machine.Owner(s.Releases) == rootUser &&
		d.machine.Owner(s.Base) == rootUser && filepath.Dir(at) == s.Releases {
		s.Release = at
	}
}
