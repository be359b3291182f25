package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"superctl/api"
	"superctl/fleet/inventory"
	"superctl/supervisor/health"
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

// TestEveryConfigErrorSaysWhereItIsAndWhatToDo reads a table from a file: a config, then the
// complete error.
func TestEveryConfigErrorSaysWhereItIsAndWhatToDo(t *testing.T) {
	const table = "testdata/errors.txtar"
	rows, err := txtar.ParseFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows.Files)%2 != 0 {
		t.Fatalf("%s has %d parts: each config needs what is said of it", table, len(rows.Files))
	}
	for i := 0; i < len(rows.Files); i += 2 {
		given, says := rows.Files[i], &rows.Files[i+1]
		t.Run(given.Name, func(t *testing.T) {
			if says.Name != "says" {
				t.Fatalf("the part after the config is %q, not \"says\"", says.Name)
			}
			c, err := read(string(given.Data))
			if err == nil {
				t.Fatalf("it was accepted: %+v", c)
			}
			got := err.Error() + "\n"
			if *update {
				says.Data = []byte(got)
			} else if got != string(says.Data) {
				t.Errorf("it says\n%s\ninstead of\n%s", got, says.Data)
			}
		})
	}
	if *update {
		if err := os.WriteFile(table, txtar.Format(rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnlyARootDaemonMayHaveAnotherUser(t *testing.T) {
	_, err := parse("shop.toml", "/etc/superctl/shop.toml", []byte(`app = "shop"
releases = "/srv/shop/releases"
user = "root"
[process.web]
command = "gunicorn shop.wsgi"
`), 1000)
	const want = `shop.toml:3:1: user = "root": only a daemon that runs as root can start workers as another user; ` +
		`leave it out, and run the daemon as root (User= of the unit)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestATooLargeEnvFileIsNotRead(t *testing.T) {
	path := write(t, "env", strings.Repeat("#", fileLimit+1))
	_, err := read("env_file = \"" + path + "\"\n" + minimal)
	want := fmt.Sprintf("shop.toml:1:1: env_file %s: it has more than 1048576 bytes, the limit", path)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAnUnreadableConfigIsRefused(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write(t, "large", strings.Repeat("#", fileLimit+1))
	for _, tt := range []struct{ name, path, want string }{
		{"missing", dir + "/shop.toml", "there is no such config file"},
		{"a directory", dir, "it is a directory"},
		{"a pipe that would wait for ever", fifo, "it is not a regular file"},
		{"a link to itself", loop, "too many levels of symbolic links"},
		{"too large", large, "it has more than 1048576 bytes, the limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(tt.path)
			if want := tt.path + ": " + tt.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestAnErrorNeverHasTheValueOfAKey(t *testing.T) {
	const secret = "canary7f3a"
	for _, value := range []string{
		secret, "\"" + secret, "'" + secret, "\"" + secret + "\\q\"", "\"x\"" + secret, "[" + secret, "{" + secret,
		"\"\"\"" + secret, "3" + secret, "“" + secret + "”",
		"\"a\" = " + secret, "[\"" + secret + "\", 3]", "{ credential = " + secret + " }",
		"{ name = \"" + secret + "\" }", "\"" + secret + "\x00\"",
	} {
		for _, key := range []string{"[env]\nSECRET_KEY", "[env]\nSECRET-KEY", "app", "keep", "[notify.chat]\nurl"} {
			if _, err := read(key + " = " + value + "\n"); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s = %s: %v", key, value, err)
			}
		}
	}
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	if _, err := read("\ufeff" + minimal); err != nil {
		t.Error(err)
	}
	if _, err := read("\xff\xfea\x00"); err == nil || err.Error() != "shop.toml: it is UTF-16: save it as UTF-8" {
		t.Errorf("UTF-16: %v", err)
	}
}

func TestTwentyErrorsAreReportedAndTheOthersCounted(t *testing.T) {
	var text strings.Builder
	for i := range 25 {
		fmt.Fprintf(&text, "zzz%d = 1\n", i)
	}
	_, err := read(text.String())
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "shop.toml: and 5 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

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

func TestAProcessCanHaveAnotherGroup(t *testing.T) {
	c := mustRead(t, "user = \"root\"\n"+minimal+"group = \"daemon\"\n")
	u := c.Processes[0].User
	if u == nil || u.Name != "root" || u.Credential.GID == c.User.Credential.GID {
		t.Errorf("the worker runs as %+v, the app as %+v", u, c.User)
	}
}

func TestProcessesStartInTheOrderOfTheFile(t *testing.T) {
	c := mustRead(t, `app = "shop"
releases = "/srv/shop/releases"
[process.zebra.env]
A = "1"
[process.mouse]
command = "mouse"
[process.ant]
command = "ant"
[process.zebra]
command = "zebra"
`)
	var got []string
	for _, p := range c.Processes {
		got = append(got, p.Name)
	}
	if want := []string{"zebra", "mouse", "ant"}; !slices.Equal(got, want) {
		t.Errorf("they start as %v, not %v", got, want)
	}
}

func TestAnUnusedListenerIsAWarning(t *testing.T) {
	c := mustRead(t, minimal+"[listen.web]\naddress = \"127.0.0.1:8000\"\n")
	if want := []string{`listener "web" is not used: no process has it in its listen`}; !slices.Equal(c.Warnings,
		want) {
		t.Errorf("warnings %q, not %q", c.Warnings, want)
	}
}

func TestEveryKeyOfABuildIsParsed(t *testing.T) {
	yes := true
	b, err := parseBuild("superctl.toml", []byte(`
app = "shop"
[build]
version = "4.2"
files = ["manage.py", "shop"]
lock = "requirements/production.txt"
extras = ["postgres"]
groups = ["prod"]
python = "3.12"
package = true
run = ["npm run build", ["python", "manage.py", "collectstatic"]]
output = ["static"]
smoke = "python manage.py check"
env = { A = "1" }
[process.worker]
[process.beat]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Build{
		Name: "shop", Version: "4.2", Files: []string{"manage.py", "shop"}, Lock: "requirements/production.txt",
		Extras: []string{"postgres"}, Groups: []string{"prod"}, Python: "3.12", Package: &yes,
		Run: [][]string{{"npm", "run", "build"}, {"python", "manage.py", "collectstatic"}}, Output: []string{"static"},
		Smoke: [][]string{{"python", "manage.py", "check"}}, Env: map[string]string{"A": "1"},
		Processes: []string{"worker", "beat"},
	}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
}

func TestABuildReportsEveryErrorInItsConfig(t *testing.T) {
	_, err := parseBuild("superctl.toml", []byte(`
[build]
nam = "shop"
`))
	if want := `superctl.toml:3:1: unknown key "build.nam"; did you mean "name"?`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = parseBuild("superctl.toml", []byte(`
[build]
name = "my shop"
version = "latest"
files = ["../shop", "a", "a"]
lock = "/etc/lock"
extras = ["--all"]
output = ["static"]
env = { SUPERCTL_APP = "1" }
`))
	const want = `superctl.toml:3:1: name "my shop": use letters, digits and . _ + -, at most 128, beginning with a letter or a digit
superctl.toml:4:1: version "latest": the word is reserved: choose another version
superctl.toml:5:1: files: "../shop": write a path in the project, without / at its beginning
superctl.toml:5:1: files: "a" is in the list twice
superctl.toml:6:1: lock "/etc/lock": it is a file of the project, such as "requirements/production.txt"
superctl.toml:7:1: extras: "--all" is not a valid name
superctl.toml:8:1: output: there is no command that would make it: write run = ["python manage.py collectstatic --noinput"]
superctl.toml:9:9: SUPERCTL_APP: superctl sets it itself`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
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

// FuzzConfig proves that no text crashes the parser, that an accepted config can run, and that an
// error names the file.
func FuzzConfig(f *testing.F) {
	rows, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(minimal))
	for i := 0; i < len(rows.Files); i += 2 {
		f.Add(rows.Files[i].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("shop.toml", "/etc/superctl/shop.toml", data, 0)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "shop.toml:") && !strings.Contains(string(data), "env_file") {
				t.Fatalf("it does not name the file: %v", err)
			}
			return
		}
		if !isAppName(c.App) || !filepath.IsAbs(c.Releases) || len(c.Processes) == 0 {
			t.Fatalf("app %q, releases %q, %d processes", c.App, c.Releases, len(c.Processes))
		}
		words := slices.Concat(texts(c.Env),
			slices.Concat(slices.Concat(c.Hooks.Before, c.Hooks.After, c.Hooks.OnAbort, c.Hooks.OnRevert)...))
		for _, p := range c.Processes {
			if len(p.Command) == 0 || p.Command[0] == "" || p.Instances < 1 || p.Drain < time.Second ||
				p.Drain > maxDuration {
				t.Fatalf("it cannot be run: %+v", p)
			}
			if (p.Health != nil) != (len(p.Listen) > 0) {
				t.Fatalf("%d listeners, health %+v", len(p.Listen), p.Health)
			}
			words = slices.Concat(words, p.Command, texts(p.Env))
		}
		for _, w := range words {
			if strings.ContainsRune(w, 0) {
				t.Fatalf("the kernel takes no NUL byte, and here is one: %q", w)
			}
		}
	})
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

func TestHooksAreParsedAsCommands(t *testing.T) {
	for text, want := range map[string][][]string{
		`"python manage.py migrate"`: {{"python", "manage.py", "migrate"}},
		`["python manage.py migrate", ["notify", "it is on"]]`: {
			{"python", "manage.py", "migrate"},
			{"notify", "it is on"},
		},
		`["notify 'it is on'"]`: {{"notify", "it is on"}},
	} {
		c, err := parse("shop.toml", "/etc/superctl/shop.toml",
			[]byte("app = \"shop\"\nreleases = \"/srv/shop/releases\"\n"+
				"[process.web]\ncommand = \"gunicorn shop.wsgi\"\n[hooks]\nbefore = "+text+"\n"), 0)
		if err != nil || !reflect.DeepEqual(c.Hooks.Before, want) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

func TestAfterChangesTheStartOrder(t *testing.T) {
	c, err := Parse("shop.toml", []byte(`
app = "shop"
releases = "/srv/shop/releases"
[process.beat]
command = "beat"
after = ["worker", "web"]
[process.mail]
command = "mail"
[process.worker]
command = "worker"
[listen.web]
address = "127.0.0.1:8000"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range c.Processes {
		names = append(names, p.Name)
	}
	if want := []string{"mail", "worker", "beat", "web"}; !slices.Equal(names, want) {
		t.Errorf("%q, not %q", names, want)
	}
}

func texts(vars []Variable) (list []string) {
	for _, v := range vars {
		list = append(list, v.Name, v.Value)
	}
	return list
}

func TestChecksShareTheKeysOfTheirTable(t *testing.T) {
	c := mustRead(t, `app = "shop"
releases = "/srv/shop/releases"
[listen.web]
address = "127.0.0.1:8000"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
[process.web.health]
host = "shop.example"
scheme = "https"
timeout = "2s"
headers = { X-A = "1", X-B = "1" }
[[process.web.health.check]]
path = "/healthz/"
[[process.web.health.check]]
path = "/"
host = "www.shop.example"
headers = { X-B = "2" }
max_latency = "1s"
[[process.web.health.check]]
kind = "tcp"
[process.worker]
command = "celery -A shop worker"
[process.worker.health]
command = "celery -A shop inspect ping"
`)
	all := c.Processes[0].Health.Checks()
	if len(all) != 3 {
		t.Fatalf("%d checks: %+v", len(all), all)
	}
	first, second, third := all[0], all[1], all[2]
	if first.Path != "/healthz/" || first.Host != "shop.example" || first.Scheme != "https" ||
		first.Timeout != 2*time.Second || first.Headers["X-B"] != "1" || first.AnyAnswer {
		t.Errorf("%+v", first)
	}
	if second.Host != "www.shop.example" || second.Headers["X-A"] != "1" || second.Headers["X-B"] != "2" ||
		second.MaxLatency != time.Second {
		t.Errorf("%+v", second)
	}
	if third.Kind != health.TCP || third.Host != "" || third.Timeout != 2*time.Second {
		t.Errorf("%+v", third)
	}
	worker := c.Processes[1].Health
	if worker == nil || worker.Kind != health.Exec || worker.Interval != 2*time.Second || len(worker.Command) != 5 {
		t.Errorf("%+v", worker)
	}
}

func TestAHookMayRunOnceInARun(t *testing.T) {
	const head = "app = \"shop\"\nreleases = \"/srv/shop/releases\"\n[process.web]\ncommand = \"gunicorn shop.wsgi\"\n"
	for text, once := range map[string]map[string][]int{
		"[hooks]\nbefore = [\"look\", { run = \"migrate\", once = true }]":                      {"before": {1}},
		"[[hooks.before]]\nrun = \"look\"\n[[hooks.before]]\nrun = [\"migrate\"]\nonce = true":  {"before": {1}},
		"[hooks]\nbefore = [\"look\", { run = \"migrate\", once = false }]":                     {},
		"[hooks]\nbefore = [\"look\", \"migrate\"]\non_abort = { run = \"tell\", once = true }": {"on_abort": {0}},
	} {
		c, err := Parse("shop.toml", []byte(head+text+"\n"))
		if err != nil || !reflect.DeepEqual(c.Hooks.Before, [][]string{{"look"}, {"migrate"}}) ||
			!reflect.DeepEqual(c.Hooks.Once, once) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	for hook, says := range map[string]string{
		`{ once = true }`:                 "a hook has no command",
		`{ run = "a", once = "yes" }`:     "once is true or false",
		`{ run = "a", onse = true }`:      `unknown key "onse"`,
		`{ run = "a && b", once = true }`: "is for a shell",
	} {
		_, err := Parse("shop.toml", []byte(head+"[hooks]\nafter = ["+hook+"]\n"))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", hook, err)
		}
	}
}
