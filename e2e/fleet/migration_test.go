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

// django returns the files of a project with one migration, which leaves a row each time it runs, and
// takes long enough for one on another host to run as well.
func django() map[string]string {
	return map[string]string{
		"manage.py": `import django.conf, django.core.management, sys
django.conf.settings.configure(INSTALLED_APPS=["pages"], DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": sys.argv.pop(), "USER": "shop", "NAME": "postgres"}})
django.core.management.execute_from_command_line(sys.argv)
`,
		"pages/__init__.py": "", "pages/migrations/__init__.py": "",
		"pages/migrations/0001_first.py": `from django.db import migrations
class Migration(migrations.Migration):
    operations = [migrations.RunSQL(
        "CREATE TABLE IF NOT EXISTS runs (host text); SELECT pg_sleep(1); INSERT INTO runs VALUES ('ran')")]
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
	count := exec.Command("psql", "-h", database.Socket(), "-U", "shop", "-At", "-c", "SELECT count(*) FROM runs", "postgres")
	count.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := count.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("the migration ran %q times: %v", out, err)
	}
}
