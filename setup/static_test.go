package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const collectHook = "python manage.py collectstatic --noinput --verbosity 0"

func TestStaticFilesThatNoReleaseHasAreCollected(t *testing.T) {
	for name, c := range map[string]struct {
		owner     string // of the release
		has       bool   // the release has static files
		root      string
		collected bool
		assets    bool
		warns     string
	}{
		"a release of the app's user": {owner: "shop", collected: true, assets: true},
		"a release that has them":     {owner: "shop", has: true, assets: true},
		"a release of root":           {owner: "root", warns: "when you make a release"},
		"outside the release":         {owner: "shop", root: "/var/www/static", warns: "outside the release"},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t, "testdata/projects/django.txtar")
			f.answers.User = "shop"
			set := *f.settings
			f.settings = &set
			if c.root != "" {
				set.StaticRoot = c.root
			}
			owner := f.machine.Owner
			f.machine.Owner = func(path string) string {
				switch {
				case path == set.StaticRoot && !c.has:
					return ""
				case path == f.project.Dir, path == set.StaticRoot:
					return c.owner
				}
				return owner(path)
			}
			d, _ := f.plan(t)
			if got := slices.Contains(d.Site.Before, collectHook); got != c.collected {
				t.Errorf("the hooks are %q", d.Site.Before)
			}
			if got := d.Site.Assets != nil; got != c.assets {
				t.Errorf("assets: %+v", d.Site.Assets)
			}
			if got := strings.Contains(strings.Join(d.Warnings, "\n"), "static files"); got != (c.warns != "") {
				t.Errorf("the warnings are %q, want %q", d.Warnings, c.warns)
			}
		})
	}
}

func TestStaticFilesOfAllReleasesAreServedWhereEachReleaseHasItsOwn(t *testing.T) {
	const release = "/srv/shop/releases/2026-11-28"
	for name, c := range map[string]struct {
		change func(s *Settings)
		owner  string // of /srv/shop/static
		no     bool
	}{
		"no manifest":                 {change: func(*Settings) {}},
		"a manifest in the release":   {change: func(s *Settings) { s.Manifest = release + "/static/staticfiles.json" }},
		"the directory is there":      {change: func(*Settings) {}, owner: "shop"},
		"it belongs to another user":  {change: func(*Settings) {}, owner: "root", no: true},
		"a manifest of all releases":  {change: func(s *Settings) { s.Manifest = "/srv/shop/staticfiles.json" }, no: true},
		"a storage without a path":    {change: func(s *Settings) { s.Manifest = "?" }, no: true},
		"WhiteNoise":                  {change: func(s *Settings) { s.WhiteNoise = true }, no: true},
		"uploads in the static files": {change: func(s *Settings) { s.MediaRoot = release + "/static/media" }, no: true},
		"a host of its own for them":  {change: func(s *Settings) { s.StaticURL = "https://cdn.example.com/" }, no: true},
		"STATIC_ROOT in all releases": {change: func(s *Settings) { s.StaticRoot = "/srv/shop/static" }, no: true},
		"STATIC_ROOT is not set":      {change: func(s *Settings) { s.StaticRoot = "" }, no: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t, "testdata/projects/django.txtar")
			f.answers.User = "shop"
			set := *f.settings
			f.settings = &set
			c.change(&set)
			owner := f.machine.Owner
			f.machine.Owner = func(path string) string {
				switch path {
				case "/srv/shop/static":
					return c.owner
				case set.StaticRoot:
					return "shop"
				}
				return owner(path)
			}
			d, p := f.plan(t)
			location := "location /static/ { alias /srv/shop/static/; }"
			has := map[string]bool{
				"assets":     d.Site.Assets != nil,
				"the config": strings.Contains(d.Site.Config(), `static = { from = "static", to = "/srv/shop/static" }`),
				"nginx":      strings.Contains(d.Site.Nginx.Text("shop"), location),
				"its directory": c.owner != "" || slices.ContainsFunc(p.Before, func(made Command) bool {
					return strings.Contains(made.String(), "mkdir") && slices.Contains(made.Args, "/srv/shop/static")
				}),
			}
			if c.no && set.StaticRoot == "/srv/shop/static" {
				delete(has, "nginx") // serves them there
			}
			if c.owner != "" {
				delete(has, "its directory")
			}
			for what, got := range has {
				if got == c.no {
					t.Errorf("%s: %t", what, got)
				}
			}
		})
	}
}

// imported is an app that a unit ran from a checkout, and its plan.
func imported(t *testing.T, address string) (*Decision, *Plan) {
	t.Helper()
	f := openFixture(t, "testdata/projects/flask.txtar")
	im := &Import{
		App: "orders", User: "orders", Dir: "/opt/orders", Listen: []Listener{{Name: "web", Address: "127.0.0.1:8000"}},
		Processes: []Process{{Name: "web", Command: "gunicorn orders.wsgi", Listen: []string{"web"}}},
	}
	d, err := DecideImport(im, f.project, &Settings{StaticRoot: "/opt/orders/static"}, f.machine, Answers{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(d.Site, f.machine, func() string { return "RANDOM" })
	if err != nil {
		t.Fatal(err)
	}
	p.Replace(Replaced{[]string{"orders.service"}, []string{"systemctl", "disable", "--now"}}, im, d.Site)
	return d, p
}

func TestAServerOnTheSameAddressIsTakenOver(t *testing.T) {
	_, p := imported(t, "")
	want := []string{
		"superctl takeover orders.service --build --apply",
	}
	if diff := cmp.Diff(want, nextSteps(p)); diff != "" {
		t.Error(diff)
	}
}

func nextSteps(p *Plan) (texts []string) {
	for _, c := range p.Next {
		texts = append(texts, c.String())
	}
	return texts
}

func TestUnitsOnAnotherAddressAreStoppedLast(t *testing.T) {
	stop := "systemctl disable --now orders.service"
	_, p := imported(t, "127.0.0.1:8001")
	last := p.Next[len(p.Next)-2:]
	if last[0].String() != "nginx -s reload" || !strings.Contains(last[0].Why, "127.0.0.1:8001") || last[1].String() != stop {
		t.Errorf("the next steps are %v", p.Next)
	}
}

func TestAnImportSaysWhereNginxFindsStaticFiles(t *testing.T) {
	d, _ := imported(t, "")
	if !strings.Contains(strings.Join(d.Warnings, "\n"), "/srv/orders/current/static/") {
		t.Errorf("the warnings are %q", d.Warnings)
	}
}

func TestACheckoutWithAnEmptyReleasesDirectoryIsTheProject(t *testing.T) {
	dir := realPath(t.TempDir())
	releases := filepath.Join(dir, "releases")
	if err := os.MkdirAll(filepath.Join(releases, ".superctl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if at, err := ProjectDir(dir); err == nil {
		t.Errorf("a directory without a project is the project %s", at)
	}
	if err := os.WriteFile(filepath.Join(dir, "manage.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if at, err := ProjectDir(dir); err != nil || at != dir {
		t.Errorf("the project is %q, %v", at, err)
	}
	if err := os.Mkdir(filepath.Join(releases, "r1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if at, err := ProjectDir(dir); err != nil || at != filepath.Join(releases, "r1") {
		t.Errorf("the project is %q, %v", at, err)
	}
}

// What an imported app shares stays where it is: before there is a releases/, with an empty one, and
// when the first release has a link to it.
func TestADatabaseStaysWhereTheCheckoutHasIt(t *testing.T) {
	for name, c := range map[string]struct{ dir, releases, link string }{
		"a checkout":              {dir: "/srv/shop"},
		"with an empty releases/": {dir: "/srv/shop", releases: "shop"},
		"the release has a link":  {dir: "/srv/shop/releases/r1", releases: "shop", link: "/srv/shop/db.sqlite3"},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t, "testdata/projects/django.txtar")
			f.project.Dir = c.dir
			file := filepath.Join(c.dir, "db.sqlite3")
			f.machine.Owner = func(path string) string {
				if path == "/srv/shop/releases" {
					return c.releases
				}
				return "shop"
			}
			f.machine.Real = func(path string) string {
				if path == file && c.link != "" {
					return c.link
				}
				return path
			}
			im := &Import{
				App: "shop", User: "shop", Dir: c.dir,
				Processes: []Process{{Name: "web", Command: "gunicorn shop.wsgi"}},
			}
			d, err := DecideImport(im, f.project, &Settings{Databases: []string{file}}, f.machine, Answers{})
			if err != nil {
				t.Fatal(err)
			}
			want := []Shared{{"db.sqlite3", "/srv/shop/db.sqlite3", true}}
			if diff := cmp.Diff(want, d.Site.Shared); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestADatabaseInALinkedDirectoryHasNoLinkOfItsOwn(t *testing.T) {
	f := openFixture(t, "testdata/projects/links.txtar")
	f.project.Links = []Link{{Path: "db", Target: "../../shared/db"}}
	file := filepath.Join(f.project.Dir, "db", "db.sqlite3")
	f.settings = &Settings{Databases: []string{file}, AllowedHosts: []string{"shop.example.com"}}
	d, _ := f.plan(t)
	want := []Shared{{Path: "db", Target: "/var/www/shop/shared/db"}}
	if diff := cmp.Diff(want, d.Site.Shared); diff != "" {
		t.Error(diff)
	}
}

// A hook could not write to an installed release, so the build has to make them.
func TestTheBuildOfACheckoutCollectsItsStaticFiles(t *testing.T) {
	f := openFixture(t, "testdata/projects/django.txtar")
	f.answers.User = "shop"
	f.project.Dir, f.project.SetBy, f.project.Settings = "/opt/shop", true, "shop.settings.production"
	set := *f.settings
	set.StaticRoot, set.Needs = "/opt/shop/static", []string{"DATABASE_URL", "SECRET_KEY"}
	f.settings = &set
	d, err := Decide(f.project, f.settings, f.machine, f.answers)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(d.Site.Before, collectHook) {
		t.Errorf("the hooks are %q", d.Site.Before)
	}
	p, err := NewPlan(d.Site, f.machine, func() string { return "RANDOM" })
	if err != nil {
		t.Fatal(err)
	}
	want := "env DJANGO_SETTINGS_MODULE=shop.settings.production DATABASE_URL=sqlite://:memory: SECRET_KEY=0 " +
		"superctl build /opt/shop --name shop --output /var/tmp --run '" + collectHook + "' --include static"
	if got := nextSteps(p)[0]; !strings.HasSuffix(got, want) {
		t.Errorf("the first step is %q, want %q at its end", got, want)
	}
}
