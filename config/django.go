package config

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
)

func (l *loader) django() {
	f := &l.f.Django
	d := Django{Check: f.Migrations == "check", Manage: cmp.Or(f.Manage, "manage.py"), Databases: f.Databases}
	if !slices.Contains([]string{"", "off", "check"}, f.Migrations) {
		l.at("django.migrations", `migrations %q is not known: "check", or "off" (the default)`, f.Migrations)
	}
	if !filepath.IsLocal(d.Manage) {
		l.at("django.manage",
			`manage %q: write the path of the project's manage.py inside the release, such as "src/manage.py"`,
			d.Manage)
	}
	if f.Databases == nil {
		d.Databases = []string{"default"}
	}
	if len(d.Databases) == 0 {
		l.at("django.databases",
			`databases: it is empty; name them as the project's DATABASES does, such as ["default"]`)
	}
	for _, name := range d.Databases {
		if name == "" || strings.ContainsAny(name, ",\x00") {
			l.at("django.databases",
				`databases: %q is not a valid name; name them as the project's DATABASES does, such as ["default"]`,
				name)
		}
	}
	l.c.Django = d
}
