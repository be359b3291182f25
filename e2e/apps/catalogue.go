package apps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Migration is a migration of the app catalogue. The first one of a release creates a table, and
// each further one adds a column. A migration that replaces others does the same as they do.
type Migration struct {
	Name     string   `json:"name"` // such as 0002_price
	Replaces []string `json:"replaces,omitempty"`
}

// Migrations returns migrations that replace none.
func Migrations(names ...string) []Migration {
	list := make([]Migration, len(names))
	for i, name := range names {
		list[i].Name = name
	}
	return list
}

// catalogue writes the app with its migrations. It needs no models.
func catalogue(dir string, migrations []Migration) error {
	if len(migrations) == 0 {
		return nil
	}
	own := filepath.Join(dir, "catalogue", "migrations")
	err := errors.Join(os.MkdirAll(own, 0o755), os.WriteFile(filepath.Join(own, "__init__.py"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "catalogue", "__init__.py"), nil, 0o644))
	before := ""
	for i, m := range migrations {
		var b strings.Builder
		b.WriteString("from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n")
		fmt.Fprintf(&b, "    dependencies = [%s]\n    operations = [\n", before)
		done := m.Replaces
		if len(done) == 0 {
			done = []string{m.Name}
		}
		for j, name := range done {
			if i == 0 && j == 0 {
				b.WriteString("        migrations.CreateModel(\"Item\", [(\"id\", " +
					"models.BigAutoField(primary_key=True))]),\n")
				continue
			}
			_, column, _ := strings.Cut(name, "_")
			fmt.Fprintf(&b, "        migrations.AddField(\"item\", %q, models.IntegerField(default=0)),\n", column)
		}
		b.WriteString("    ]\n")
		if len(m.Replaces) > 0 {
			b.WriteString("    replaces = [")
			for _, name := range m.Replaces {
				fmt.Fprintf(&b, "(\"catalogue\", %q), ", name)
			}
			b.WriteString("]\n")
		}
		before = fmt.Sprintf("(\"catalogue\", %q)", m.Name)
		err = errors.Join(err, os.WriteFile(filepath.Join(own, m.Name+".py"), []byte(b.String()), 0o644))
	}
	return err
}
