package site

import (
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

const (
	checked     = "[django]\nmigrations = \"check\"\n"
	migrateHook = "[hooks]\nbefore = [\"python manage.py migrate --noinput\"]\n"
)

// A new release brings a migration on each database, and no release without it goes live unless
// forced.
func TestAReleaseThatDoesNotFitTheDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sqlite", "postgresql"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{
				Server: harness.GunicornThreads(), Top: `standby = "10m"`, More: checked + migrateHook,
			})
			database := "sqlite:" + a.Path("db.sqlite3")
			if kind == "postgresql" {
				database = "postgresql:" + harness.StartPostgres(t, run).Socket()
			}
			a.Options.Env = "SHOP_DATABASE = \"" + database + "\""
			a.WriteConfig()
			a.Release("r1", apps.Behaviour{Migrations: apps.Migrations("0001_initial")})
			a.Release("r2", apps.Behaviour{Migrations: apps.Migrations("0001_initial", "0002_price")})
			a.Release(
				"squashed",
				apps.Behaviour{Migrations: []apps.Migration{{
					Name: "0001_squashed_0002_price", Replaces: []string{"0001_initial", "0002_price"},
				}}},
			)
			a.Start("r1")
			requests := a.Load(requestsOfAFewUsers())

			a.Command("switch", "r2").Want(0).Says("catalogue.0002_price", "1 to apply, which a before hook does")
			a.Command("history", "--output", "-n", "1").Want(0).Says("migrations | Planned operations:")
			refused := a.Command("rollback").Want(1).Says(
				"r1 does not know migrations that have been applied: catalogue.0002_price.", "--force",
				"r2 is still live, untouched",
			)
			if strings.Contains(refused.Text(), "0001_initial") {
				t.Errorf("it names too many:\n%s", refused.Text())
			}
			a.Command("check", "r1").Want(1).Says("catalogue.0002_price")
			a.Command("rollback", "--force").Want(0).Says(
				"still warm", "--force overrides unknown migrations: catalogue.0002_price",
			)
			a.Command("switch", "r2").Want(0).Says("nothing to apply")
			a.Command("switch", "r1").Want(1).Says("catalogue.0002_price")
			// A squashed migration equals the two that it replaces.
			a.Command("switch", "squashed").Want(0)
			a.Command("rollback").Want(0).Says("nothing to apply")
			a.Command("switch", "squashed").Want(0)

			// Without a hook the migrations are not applied.
			a.Options.More = checked
			a.WriteConfig()
			a.Release("r3", apps.Behaviour{Migrations: apps.Migrations("0001_initial", "0002_price", "0003_stock")})
			a.Command("switch", "r3").Want(1).Says(
				"r3 has migrations that are not applied: catalogue.0003_stock: apply them first", "manage.py migrate",
			)
			a.Command("check", "r3").Want(1).Says("catalogue.0003_stock")
			a.Lossless(requests)
		})
	}
}

func TestMigrationsThatCannotBeCheckedAreRefused(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	for name, c := range map[string]struct {
		more, env string
		says      string
	}{
		"no manage.py":     {checked + "manage = \"src/manage.py\"\n", "", "no src/manage.py in"},
		"no such settings": {checked, `DJANGO_SETTINGS_MODULE = "shop.nothing"`, "No module named 'shop.nothing'"},
		"no such database": {checked + "databases = [\"other\"]\n", "", "no database 'other' in the settings: they have default"},
		"no server":        {checked, `SHOP_DATABASE = "postgresql:` + a.Path("nowhere") + `"`, "connect to the database"},
		"no such file": {
			checked, `SHOP_DATABASE = "sqlite:` + a.Path("nowhere", "db") + `"`, "unable to open database file",
		},
		"no call":             {checked + "manage = \"shop/settings.py\"\n", "", "did not call"},
		"not a Django at all": {checked + "manage = \"release.json\"\n", "", "release.json"},
	} {
		a.Options.More, a.Options.Env = c.more, c.env
		a.WriteConfig()
		refused := a.Command("switch", "r2").Want(1)
		if !strings.Contains(refused.Text(), c.says) || !strings.Contains(refused.Text(), "--force") {
			t.Errorf("%s: the error lacks %q:\n%s", name, c.says, refused.Text())
		}
	}
	// An operator can override the check.
	a.Options.More, a.Options.Env = checked+"databases = [\"other\"]\n", ""
	a.WriteConfig()
	a.Command("switch", "r2", "--force").Want(0).Says("not checked, and --force was given")
	a.Options.Env = ""
	a.Options.More = "[django]\nmigrations = \"chekc\"\n"
	a.WriteConfig()
	a.Command("check").Want(2).Says(`migrations "chekc" is not known: "check", or "off"`)
}
