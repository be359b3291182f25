package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const whole = `
app = "shop"
releases = "/srv/shop/releases"
current = "/srv/shop/current"
log = "/var/log/shop.log"
standby = "5m"
probation = "10s"
settle = "3s"
[listen.web]
address = "unix:/run/shop/web.sock"
mode = "0660"
[listen.api]
address = "systemd:api"
backlog = 100
[listen.unused]
address = "127.0.0.1:1"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
instances = 3
drain = "7s"
env = { A = "1" }
[process.web.health]
path = "/healthz/"
host = "shop.example.com"
[process.api]
command = ["node", "api.js"]
listen = ["api"]
[process.worker]
command = "celery worker"
[process.beat]
command = "celery beat"
after = ["worker"]
[hooks]
before = ["python manage.py migrate"]
after = "touch /tmp/x"
[django]
migrations = "check"
[env]
SECRET = "x"
[shared]
media = "/srv/shop/media"
`

func TestACopyHasItsOwnPathsAndNoEffectOnOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.toml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := WriteCopy(path, Copy{
		App: "shop-drill", Releases: "/tmp/d/releases", State: "/tmp/d/state", Control: "/tmp/d/control.sock",
		Listen:       map[string]string{"web": "unix:/tmp/d/web.sock", "api": "127.0.0.1:4711"},
		StartTimeout: 9 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("copy.toml", text)
	if err != nil {
		t.Fatalf("the copy is refused: %v\n%s", err, text)
	}
	original, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}

	if c.App != "shop-drill" || c.Releases != "/tmp/d/releases" || c.State != "/tmp/d/state" ||
		c.Control != "/tmp/d/control.sock" {
		t.Errorf("its places: %+v", c)
	}
	if c.Current != "" || c.Log != "" || c.Standby != 0 || c.Probation != 0 ||
		len(c.Hooks.Before)+len(c.Hooks.After) > 0 || c.Django.Check {
		t.Errorf("it does what others notice: %+v", c)
	}
	var listeners, processes []string
	for _, l := range c.Listen {
		listeners = append(listeners, l.Name+" "+l.Address.String()+" "+l.Gate)
		if l.Mode != 0 {
			t.Errorf("listen.%s has a mode", l.Name)
		}
	}
	for _, p := range c.Processes {
		processes = append(processes, p.Name)
		i := slices.IndexFunc(original.Processes, func(o Process) bool { return o.Name == p.Name })
		want := original.Processes[i]
		want.StartTimeout = 9 * time.Second
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("process.%s: %s", p.Name, diff)
		}
	}
	slices.Sort(processes)
	if got := strings.Join(listeners, ", "); got != "api 127.0.0.1:4711 shared, web unix:/tmp/d/web.sock " {
		t.Errorf("its listeners: %q", got)
	}
	if got := strings.Join(processes, ", "); got != "api, web" {
		t.Errorf("its processes: %q", got)
	}
	if diff := cmp.Diff(original.Env, c.Env) + cmp.Diff(original.Shared, c.Shared); diff != "" ||
		c.Settle != 3*time.Second {
		t.Errorf("what is not its own differs: %s", diff)
	}
}

func TestEachKeyIsEitherCopiedOrNot(t *testing.T) {
	decided := append(notCopied(),
		"app", "releases", "state", "control", "probation", "user", "listen", "process", // its own values
		"keep", "settle", "virtualenv", "group", "env_file", "inherit", "env", "secrets", "shared", // the app's values
	)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[file]()) {
		if key := f.Tag.Get("toml"); !slices.Contains(decided, key) {
			t.Errorf("the config has a key %q: a copy of an app must leave it out (notCopied) or may have it (the "+
				"list here)", key)
		}
	}
}
