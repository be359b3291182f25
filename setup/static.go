package setup

import (
	"path/filepath"
	"slices"
	"strings"
)

// static has the static files of Django collected where no release has them: a storage with a
// manifest answers 500 without them, and nginx 404.
func (d *decider) static(s *Site) {
	root := d.settings.StaticRoot
	rel, inside := d.inRelease(root)
	switch {
	case root == "" || d.collects(s):
	case !inside:
		d.warn("STATIC_ROOT is %s, outside the release: collect the static files there before each switch", root)
	case s.Checkout != "":
		s.Collect = &Collect{Command: d.collectstatic(), Path: rel, Env: d.readable(s)}
	case d.machine.Owner(root) == "" && d.machine.Owner(d.project.Dir) == s.User:
		s.Before = append(s.Before, d.collectstatic())
	case d.machine.Owner(root) == "":
		d.warn("the release has no static files in %s: run python %s collectstatic when you make a release", rel,
			d.project.Manage)
	}
}

func (d *decider) collectstatic() string {
	return "python " + d.project.Manage + " collectstatic --noinput --verbosity 0"
}

// readable returns the variables with which the settings can be read.
func (d *decider) readable(s *Site) (list []Variable) {
	const module = "DJANGO_SETTINGS_MODULE"
	if d.project.SetBy {
		list = append(list, Variable{module, d.project.Settings})
	} else if i := slices.IndexFunc(s.Env, func(v Variable) bool { return v.Name == module }); i >= 0 {
		list = append(list, s.Env[i])
	}
	for _, name := range d.settings.Needs {
		list = append(list, Variable{name, placeholder(name)})
	}
	return list
}

// placeholder returns a value for a variable that settings need, with which they can be read. ask.py
// has the same.
func placeholder(name string) string {
	switch {
	case strings.HasSuffix(name, "DATABASE_URL"):
		return "sqlite://:memory:"
	case strings.HasSuffix(name, "_URL"), strings.HasSuffix(name, "_URI"), strings.HasSuffix(name, "DSN"):
		return "http://localhost/"
	}
	return "0"
}

// assets decides whether superctl publishes the static files of all releases in one directory: it can
// where each release has its own, with their manifest. It returns that directory, or "".
func (d *decider) assets(s *Site) string {
	root, manifest := d.settings.StaticRoot, d.settings.Manifest
	rel, inside := d.inRelease(root)
	to := filepath.Join(s.Base, "static")
	owner := d.machine.Owner(to)
	switch {
	case !inside, d.machine.Owner(root) == "" && s.Collect == nil && !d.collects(s):
		return "" // no release has them
	case manifest != "" && !under(manifest, root), owner != "" && owner != s.User, under(root, to),
		under(to, d.machine.Real(d.project.Dir)):
		return ""
	case slices.ContainsFunc(s.Shared, func(sh Shared) bool {
		return under(sh.Path, rel) || under(rel, sh.Path) || under(sh.Target, to) || under(to, sh.Target)
	}):
		return ""
	}
	s.Assets = &Assets{From: rel, To: to}
	return to
}

// collects reports whether a hook collects the static files already.
func (d *decider) collects(s *Site) bool {
	return slices.ContainsFunc(s.Before, func(hook string) bool { return strings.Contains(hook, "collectstatic") })
}

// staticOfNginx says where nginx finds the static files of the live release, if it has served those
// of a checkout until now.
func (d *decider) staticOfNginx(s *Site) {
	if s.Checkout == "" || d.settings == nil || d.settings.StaticRoot == "" || d.settings.WhiteNoise {
		return
	}
	if rel, inside := d.inRelease(d.settings.StaticRoot); inside {
		d.warn("nginx serves the static files of the checkout: after the switch, let it serve those of the live release, "+
			"which are in %s/", filepath.Join(s.Current, rel))
	}
}
