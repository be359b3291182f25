package setup

import (
	"slices"
	"strings"
	"testing"
)

const collectHook = "python manage.py collectstatic --noinput --verbosity 0"

func TestStaticFilesThatNoReleaseHasAreCollected(t *testing.T) {
	for name, c := range map[string]struct {
		owner     string // of the release
		has       bool   // the release has static files
		root      string
		collected bool
		warns     string
	}{
		"a release of the app's user": {owner: "shop", collected: true},
		"a release that has them":     {owner: "shop", has: true},
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
			if got := strings.Contains(strings.Join(d.Warnings, "\n"), "static files"); got != (c.warns != "") {
				t.Errorf("the warnings are %q, want %q", d.Warnings, c.warns)
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
	p.Replace([]string{"orders.service"}, im, d.Site)
	return d, p
}

func TestOldUnitsAreStoppedFirstOnlyWhereTheyHaveTheAddress(t *testing.T) {
	stop := "systemctl disable --now orders.service"
	if _, p := imported(t, ""); p.Next[0].String() != stop {
		t.Errorf("the next steps are %v", p.Next)
	}
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
