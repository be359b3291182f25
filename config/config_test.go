package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/api"
	"superctl/fleet/inventory"
)

var update = flag.Bool("update", false, "write what is said now into testdata")

// read parses a config as a daemon of root does.
func read(text string) (*Config, error) {
	return parse("shop.toml", "/etc/superctl/shop.toml", []byte(text), 0)
}

func mustRead(t *testing.T, text string) *Config {
	t.Helper()
	c, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const minimal = `app = "shop"
releases = "/srv/shop/releases"
[process.web]
command = "gunicorn shop.wsgi"
`

func TestAMinimalConfigHasTheDefaultsOfTheReference(t *testing.T) {
	for _, name := range []string{"STATE_DIRECTORY", "RUNTIME_DIRECTORY"} {
		t.Setenv(name, "/run/test")
	}
	c := mustRead(t, minimal+"listen = [\"web\"]\n[listen.web]\naddress = \"127.0.0.1:8000\"\n")
	p, l := c.Processes[0], c.Listen[0]
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"path", c.Path, "/etc/superctl/shop.toml"},
		{"app", c.App, "shop"},
		{"releases", c.Releases, "/srv/shop/releases"},
		{"current", c.Current, ""},
		{"state", c.State, "/run/test"},
		{"control", c.Control, "/run/test/shop.sock"},
		{"log", c.Log, ""},
		{"keep", c.Keep, 5},
		{"probation", c.Probation, 10 * time.Second},
		{"standby", c.Standby, time.Duration(0)},
		{"settle", c.Settle, 5 * time.Second},
		{"virtualenv", c.Virtualenv, true},
		{"user", c.User, (*User)(nil)},
		{"hooks.timeout", c.Hooks.Timeout, 10 * time.Minute},
		{"django", c.Django, Django{Manage: "manage.py", Databases: []string{"default"}}},
		{"warnings", len(c.Warnings), 0},
		{"backlog", l.Backlog, 2048},
		{"gate", l.Gate, ""},
		{"mode", uint32(l.Mode), uint32(0)},
		{"command", strings.Join(p.Command, "|"), "gunicorn|shop.wsgi"},
		{"instances", p.Instances, 1},
		{"strategy", p.Strategy, api.Overlap},
		{"drain", p.Drain, 30 * time.Second},
		{"stop_signal", p.StopSignal, 0},
		{"start_timeout", p.StartTimeout, time.Minute},
		{"ready_after", p.ReadyAfter, time.Second},
		{"notify", p.Notify, false},
		{"server", p.Server, ""},
		{"nofile", p.NoFile, uint64(0)},
		{"path of the check", p.Health.Path, "/"},
		{"any answer", p.Health.AnyAnswer, true},
		{"timeout", p.Health.Timeout, 5 * time.Second},
		{"interval", p.Health.Interval, 250 * time.Millisecond},
		{"healthy_after", p.Health.HealthyAfter, 3},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s is %v, not %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestEveryKeyIsParsed(t *testing.T) {
	env := write(t, "env", "# a comment\n\nFROM_FILE='a b'\nexport EXPORTED=1\nBOTH=file\nEMPTY=\nHASH=a#b\n")
	c := mustRead(t, `
app = "shop"
releases = "/srv/shop/releases/"
current = "/srv/shop/current"
state = "/srv/state"
control = "/srv/control.sock"
log = "/srv/log"
keep = 9
probation = "1m30s"
standby = "5m"
settle = "0s"
virtualenv = false
user = "root"
group = "root"
env_file = "`+env+`"
[listen.web]
address = "unix:/run/shop/web.sock"
mode = "0660"
owner = "root"
group = "root"
backlog = 7
gate = "shared"
[process.web]
command = ["gunicorn", "a b"]
listen = ["web"]
instances = 2
drain = "1m"
stop_signal = "quit"
notify = true
start_timeout = "2s"
ready_after = "0s"
server = "gunicorn"
user = "root"
group = "root"
nofile = 4096
memory_max = "512M"
recycle = { memory = "400M", every = "24h", requests = 100000 }
cpu_weight = 50
[process.web.env]
OWN = "1"
[process.web.health]
path = "/healthz/"
host = "example.com"
status = 204
contains = "fine"
timeout = "1s"
interval = "1s"
healthy_after = 1
protocol = "http"
[process.beat]
command = "celery 'a b' \"c\""
strategy = "single"
[hooks]
before = [["a", "b"], ["c"]]
after = [["d"]]
on_abort = ["e f"]
on_revert = "g"
before_rollback = true
timeout = "1s"
[django]
migrations = "check"
manage = "src/manage.py"
databases = ["default", "other"]
[env]
BOTH = "config"
[assets]
static = { from = "static", to = "/srv/static/", keep = "7d" }
docs = { from = "venv/docs", to = "/srv/docs", keep = "12h" }
[cron.clear]
schedule = "Sun 03:00"
command = "python manage.py clearsessions"
timezone = "Europe/Berlin"
overlap = "replace"
timeout = "5m"
on = "one"
[cron.report]
schedule = "*/15 * * * *"
command = ["report", "all of it"]
`)
	web, beat, li := c.Processes[0], c.Processes[1], c.Listen[0]
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"releases", c.Releases, "/srv/shop/releases"},
		{"current", c.Current, "/srv/shop/current"},
		{"state", c.State, "/srv/state"},
		{"control", c.Control, "/srv/control.sock"},
		{"log", c.Log, "/srv/log"},
		{"keep", c.Keep, 9},
		{"probation", c.Probation, 90 * time.Second},
		{"standby", c.Standby, 5 * time.Minute},
		{"settle", c.Settle, time.Duration(0)},
		{"virtualenv", c.Virtualenv, false},
		{"user", c.User.Name, "root"},
		{"group", c.Group, "root"},
		{"address", li.Address.String(), "unix:/run/shop/web.sock"},
		{"mode", uint32(li.Mode), uint32(0o660)},
		{"owner", li.Owner, "root"},
		{"listen.group", li.Group, "root"},
		{"backlog", li.Backlog, 7},
		{"gate", li.Gate, "shared"},
		{"command", web.Command, []string{"gunicorn", "a b"}},
		{"listen", web.Listen, []string{"web"}},
		{"instances", web.Instances, 2},
		{"drain", web.Drain, time.Minute},
		{"stop_signal", web.StopSignal, int(unix.SIGQUIT)},
		{"notify", web.Notify, true},
		{"start_timeout", web.StartTimeout, 2 * time.Second},
		{"ready_after", web.ReadyAfter, time.Duration(0)},
		{"server", web.Server, "gunicorn"},
		{"process.user", web.User.Name, "root"},
		{"nofile", web.NoFile, uint64(4096)},
		{"memory_max", web.MemoryMax, uint64(512 << 20)},
		{"recycle", *web.Recycle, Recycle{Memory: 400 << 20, Every: 24 * time.Hour, Requests: 100_000, Interval: 30 * time.Second}},
		{"cpu_weight", web.CPUWeight, uint64(50)},
		{"process.env", web.Env, []Variable{{Name: "OWN", Value: "1", From: FromProcess}}},
		{"path", web.Health.Path, "/healthz/"},
		{"any answer", web.Health.AnyAnswer, false},
		{"host", web.Health.Host, "example.com"},
		{"status", web.Health.Status, []int{204}},
		{"contains", web.Health.Contains, "fine"},
		{"timeout", web.Health.Timeout, time.Second},
		{"interval", web.Health.Interval, time.Second},
		{"healthy_after", web.Health.HealthyAfter, 1},
		{"protocol", web.Health.Protocol, "http"},
		{"shell words", beat.Command, []string{"celery", "a b", "c"}},
		{"strategy", beat.Strategy, api.Single},
		{"before", c.Hooks.Before, [][]string{{"a", "b"}, {"c"}}},
		{"after", c.Hooks.After, [][]string{{"d"}}},
		{"on_abort", c.Hooks.OnAbort, [][]string{{"e", "f"}}},
		{"on_revert", c.Hooks.OnRevert, [][]string{{"g"}}},
		{"before_rollback", c.Hooks.BeforeRollback, true},
		{"hooks.timeout", c.Hooks.Timeout, time.Second},
		{"django", c.Django, Django{Check: true, Manage: "src/manage.py", Databases: []string{"default", "other"}}},
		{"cron", c.Crons, []Cron{
			{
				Name: "clear", Schedule: "Sun 03:00", Timezone: "Europe/Berlin", Command: []string{"python", "manage.py", "clearsessions"},
				Overlap: "replace", Timeout: 5 * time.Minute, One: true,
			},
			{Name: "report", Schedule: "*/15 * * * *", Command: []string{"report", "all of it"}, Overlap: "forbid", Timeout: time.Hour},
		}},
		{"assets", c.Assets, []Assets{
			{Name: "docs", From: "venv/docs", To: "/srv/docs", Keep: 12 * time.Hour},
			{Name: "static", From: "static", To: "/srv/static", Keep: 7 * 24 * time.Hour},
		}},
		{"env", c.Env, []Variable{
			{Name: "BOTH", Value: "file", From: FromFile},
			{Name: "EMPTY", Value: "", From: FromFile},
			{Name: "EXPORTED", Value: "1", From: FromFile},
			{Name: "FROM_FILE", Value: "a b", From: FromFile},
			{Name: "HASH", Value: "a#b", From: FromFile},
			{Name: "BOTH", Value: "config", From: FromConfig},
		}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s is %v, not %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestAnUnusedListenerIsAWarning(t *testing.T) {
	c := mustRead(t, minimal+"[listen.web]\naddress = \"127.0.0.1:8000\"\n")
	if want := []string{`listener "web" is not used: no process has it in its listen`}; !slices.Equal(c.Warnings,
		want) {
		t.Errorf("warnings %q, not %q", c.Warnings, want)
	}
}

func TestTheReferenceDocumentsEveryKey(t *testing.T) {
	reference, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []any{
		file{},
		listenTable{},
		processTable{},
		healthTable{},
		checkTable{},
		hooksTable{},
		cronTable{},
		djangoTable{},
		secretsTable{},
		buildTable{},
		notifyTable{},
		inventory.Table{},
	} {
		for _, key := range tags(reflect.TypeOf(table)) {
			if s := string(reference); !strings.Contains(s, "`"+key+"`") && !strings.Contains(s, "["+key) &&
				!strings.Contains(s, "."+key+"]") {
				t.Errorf("docs/config.md does not have the key %s of %T", key, table)
			}
		}
	}
}

// write writes a file of a test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
