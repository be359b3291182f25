package fleet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"superctl/e2e/harness"
)

// django returns the files of a project with one migration. Each run of manage.py leaves the name of
// its host, and each run of the migration a row.
func django() map[string]string {
	return map[string]string{
		"manage.py": `import django.conf, django.core.management, django.db, socket, sys
django.conf.settings.configure(INSTALLED_APPS=["pages"], DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": sys.argv.pop(), "USER": "shop", "NAME": "postgres"}})
with django.db.connection.cursor() as c:
    c.execute("INSERT INTO hosts VALUES (%s)", [socket.gethostname()])
django.core.management.execute_from_command_line(sys.argv)
`,
		"pages/__init__.py": "", "pages/migrations/__init__.py": "",
		"pages/migrations/0001_first.py": `from django.db import migrations
class Migration(migrations.Migration):
    operations = [migrations.RunSQL(
        "SELECT pg_sleep(1); INSERT INTO hosts VALUES ('migrated')")]
`,
	}
}

// TestAMigrationRunsOnceForAllHosts has two operators switch hosts that share a database at the same
// time: one wins, the other is told who, and the migration runs on one host alone.
func TestAMigrationRunsOnceForAllHosts(t *testing.T) {
	o := newOperator(t)
	database := harness.StartPostgres(t, run)
	python := filepath.Join(run.Apps.Cache, "bin", "python") // the hosts see the files of this machine
	migrate := python + " manage.py migrate --noinput " + shared + strings.TrimPrefix(database.Socket(), run.Dir)
	sql := func(query string) string {
		t.Helper()
		psql := exec.Command("psql", "-h", database.Socket(), "-U", "shop", "-Atqc", query, "postgres")
		psql.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := psql.CombinedOutput()
		if err != nil {
			t.Fatalf("psql: %v\n%s", err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	sql("CREATE TABLE hosts (name text)")
	o.f.Each(t, func(h *Host) {
		h.Write(t, "/etc/superctl/shop.toml", strings.Replace(config, `run = "true"`, `run = "`+migrate+`"`, 1))
		for name, text := range django() {
			h.Write(t, "/srv/shop/releases/2/"+name, text)
		}
	})
	refused := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(refused) })
	t.Cleanup(goOn)
	o.see(func(m message) {
		if m.Kind == line && strings.Contains(m.Text, `"step":"before"`) {
			<-refused // so that the other one comes in time
		}
	})
	first, second := o.superctl("switch", "2"), o.superctl("switch", "2")
	select {
	case <-first.done:
		first, second = second, first
	case <-second.done:
	}
	goOn()
	second.Want(4).Says("switch to 2").Says("root@")
	first.Want(0)
	o.f.wantLive(t, "2 2 2")
	if ran := sql("SELECT name FROM hosts ORDER BY name"); ran != "migrated web1" {
		t.Errorf("the hook left %q: it should have run on web1 alone, and the migration once", ran)
	}
}
