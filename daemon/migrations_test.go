package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAHookThatRunsMigrateIsRecognized(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"deploy.sh": "#!/bin/sh\npython manage.py check\npython manage.py migrate \"$@\"\n",
		"other.sh":  "#!/bin/sh\npython manage.py migrate --check\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		argv []string
		runs bool
	}{
		{[]string{"python", "manage.py", "migrate", "--noinput"}, true},
		{[]string{"sh", "-c", "cd src && python manage.py migrate"}, true},
		{[]string{"sh", "-c", "python manage.py migrate;python manage.py other"}, true},
		{[]string{"./deploy.sh"}, true},
		{[]string{"sh", "deploy.sh", "fast"}, true},
		{[]string{filepath.Join(dir, "deploy.sh")}, true},
		{[]string{"python", "manage.py", "makemigrations"}, false},
		{[]string{"python", "manage.py", "showmigrations"}, false},
		{[]string{"python", "manage.py", "migrate", "--plan"}, false},
		{[]string{"sh", "other.sh"}, false},
		{[]string{"no-such-script", dir}, false},
		{[]string{"./pre-migrate-backup"}, false},
	} {
		if got := runsMigrate([][]string{{"true"}, c.argv}, dir); got != c.runs {
			t.Errorf("%q: %t", c.argv, got)
		}
	}
	if runsMigrate(nil, dir) {
		t.Error("without a hook, migrate seems to run")
	}
}
