package packaging

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

// projectMachine is a machine with nginx and superctl, and with a release of projects of
// testdata/projects.txtar in /srv/NAME/releases/r1.
func projectMachine(t *testing.T, names ...string) *systemd.Sandbox {
	t.Helper()
	dir := machineDir(t)
	archive, err := txtar.ParseFile(filepath.Join("testdata", "projects.txtar"))
	must(t, err)
	srv := filepath.Join(dir, "srv")
	for _, f := range archive.Files {
		app, file, _ := strings.Cut(f.Name, "/")
		path := filepath.Join(srv, app, "releases", "r1", file)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, f.Data, 0o644))
	}
	packaging := filepath.Join(top(t), "packaging", "systemd")
	binds := []systemd.Bind{
		{From: run.Binary, To: "/usr/bin/superctl"},
		{From: filepath.Join(packaging, "superctl@.service"), To: "/etc/systemd/system/superctl@.service"},
		{From: filepath.Join(packaging, "sysusers.conf"), To: "/usr/lib/sysusers.d/superctl.conf"},
		{From: filepath.Join(packaging, "tmpfiles.conf"), To: "/usr/lib/tmpfiles.d/superctl.conf"},
		{From: srv, To: srv}, // the virtualenvs name their interpreter by this path
	}
	for _, app := range names {
		must(t, run.Apps.Virtualenv(filepath.Join(srv, app, "releases", "r1", "venv")))
		binds = append(binds, systemd.Bind{From: filepath.Join(srv, app), To: "/srv/" + app, Writable: true})
	}
	s := systemd.Boot(t, dir, systemd.Machine{PrivateNet: true, Binds: binds})
	s.Run("systemd-sysusers").Want(0)
	s.Run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/superctl.conf").Want(0)
	s.Run("mkdir", "-p", "/var/lib/nginx", "/var/log/nginx").Want(0)
	return s
}

func TestWhatInitWritesServesTheProject(t *testing.T) {
	s := projectMachine(t, "django", "fastapi", "flask")
	s.Run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=bakery.example.com",
		"-keyout", "/etc/ssl/private/bakery.key", "-out", "/etc/ssl/certs/bakery.pem").Want(0)
	for _, c := range []struct {
		app, domain string
		options     []string
		url, says   string
	}{
		{
			"django", "bakery.example.com",
			[]string{"--cert", "/etc/ssl/certs/bakery.pem", "--key", "/etc/ssl/private/bakery.key"},
			"https://bakery.example.com/", "bread",
		},
		{"fastapi", "prices.example.com", []string{"--domain", "prices.example.com"}, "http://prices.example.com/", "bread"},
		{"flask", "orders.example.com", []string{"--domain", "orders.example.com"}, "http://orders.example.com/", "orders"},
	} {
		t.Run(c.app, func(t *testing.T) {
			args := append([]string{"superctl", "init", "/srv/" + c.app, "--apply"}, c.options...)
			s.Run(args...).Want(0).Says("set up")
			if again := s.Run(append(args, "--json")...).Want(0); changed(t, again) {
				t.Errorf("a second run changes something:\n%s", again.Text())
			}
			s.Run("superctl", "--app", c.app, "check").Want(0)
			s.Run("systemctl", "enable", "--now", "superctl@"+c.app).Want(0)
			s.Run("superctl", "--app", c.app, "switch", "latest").Want(0)
			get(s, c.domain, c.url).Want(0).Says(c.says)
		})
	}
	const static = "https://bakery.example.com/static/"
	get(s, "bakery.example.com", "https://bakery.example.com/").Want(0).Says("/static/style.7d3f2c91a0be.css")
	for _, name := range []string{"style.css", "style.7d3f2c91a0be.css"} {
		get(s, "bakery.example.com", static+name).Want(0).Says("brown")
		s.Run("cat", "/srv/django/static/"+name).Want(0).Says("brown") // of all releases: docs/static-files.md
	}
	if get(s, "bakery.example.com", static+"staticfiles.json").Code == 0 {
		t.Error("nginx serves the manifest, so it serves the directory of the release")
	}
	if mode := s.Run("stat", "--format=%a %U:%G", "/etc/superctl/django.env").Want(0).Stdout; mode != "640 root:django\n" {
		t.Errorf("the file of secrets is %s", mode)
	}
}

// oldUnit runs the project legacy without superctl.
const oldUnit = `[Service]
User=www-data
WorkingDirectory=/srv/legacy/releases/r1
Environment=API_KEY=a-key-of-fifteen
ExecStart=/srv/legacy/releases/r1/venv/bin/gunicorn --bind 127.0.0.1:8200 invoices:app
`

func TestAnImportedUnitServesAsBefore(t *testing.T) {
	s := projectMachine(t, "legacy")
	s.Run("sh", "-c", "cat >/etc/systemd/system/invoices.service <<'END'\n"+oldUnit+"END").Want(0)
	s.Run("systemctl", "daemon-reload").Want(0)
	s.Run("systemctl", "start", "invoices").Want(0)
	serves := func() bool { return s.Run("curl", "--silent", "--fail", "http://127.0.0.1:8200/").Code == 0 }
	harness.Eventually(t, "the old server answers", serves)

	plan := s.Run("superctl", "init", "--from", "invoices", "--apply").Want(0)
	plan.Says("set up")
	if strings.Contains(plan.Text(), "a-key-of-fifteen") {
		t.Errorf("the plan has a secret in it:\n%s", plan.Text())
	}
	plan.Says("superctl takeover invoices.service --apply")
	s.Run("superctl", "takeover", "invoices.service", "--apply").Want(0).Says("is live on 127.0.0.1:8200")
	s.Run("superctl", "--app", "invoices", "check").Want(0)
	s.Run("curl", "--silent", "--fail", "http://127.0.0.1:8200/").Want(0).Says("16 bytes of a key")
	if again := s.Run("superctl", "init", "--from", "invoices", "--apply", "--json").Want(0); changed(t, again) {
		t.Errorf("a second run changes something:\n%s", again.Text())
	}
}

// get asks for a URL of the machine's own nginx.
func get(s *systemd.Sandbox, domain, url string) systemd.Result {
	return s.Run("curl", "--silent", "--show-error", "--fail", "--insecure", "--resolve", domain+":443:127.0.0.1",
		"--resolve", domain+":80:127.0.0.1", url)
}

func changed(t *testing.T, r systemd.Result) bool {
	t.Helper()
	var out struct{ Changed bool }
	must(t, json.Unmarshal([]byte(r.Stdout), &out))
	return out.Changed
}
