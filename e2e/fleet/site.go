package fleet

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"superctl/e2e/harness"
	"superctl/load"
)

// app is the name of the site on every host.
const app = "shop"

//go:embed serve.py
var server string

// config is the config of the site. Its times are short, because tests wait for them, except for
// those that only a defect waits for.
const config = `app        = "shop"
releases   = "/srv/shop/releases"
current    = "/srv/shop/current"
virtualenv = false
probation  = "1s"
standby    = "1m"

[hooks]
before = [{ run = "true", once = true }]
after  = ["true"]

[listen.web]
address = "0.0.0.0:8000"

[process.web]
command = "/usr/bin/python3 serve.py"
listen  = ["web"]
drain   = "30s"
start_timeout = "1m"
[process.web.health]
path     = "/healthz"
interval = "50ms"
`

// shared is where the hosts see the directory of the run.
const shared = "/var/lib/shared"

// restore is what Reset runs on a host: it puts everything of superctl back, with the releases 1, 2
// and 3, of which 1 is live. /root/site has the files. The first time it keeps a copy of the state,
// which takes the place of a switch and its probation from then on.
const restore = `
put() {
	cmp -s "$1" "$2" || { install -D -m "$3" "$1" "$2"; changed=yes; }
}
changed=
systemctl stop superctl@shop 2>/dev/null || true
rm -rf /srv/shop /etc/superctl /var/lib/superctl
put /root/site/superctl /usr/bin/superctl 755
put /root/site/packaging/systemd/superctl@.service /etc/systemd/system/superctl@.service 644
put /root/site/packaging/systemd/sysusers.conf /usr/lib/sysusers.d/superctl.conf 644
put /root/site/packaging/systemd/tmpfiles.conf /usr/lib/tmpfiles.d/superctl.conf 644
if [ -n "$changed" ]; then
	systemd-sysusers
	systemd-tmpfiles --create /usr/lib/tmpfiles.d/superctl.conf
	systemctl daemon-reload
fi
id shop >/dev/null 2>&1 || useradd --system --home-dir /srv/shop shop
install -D -m 644 /root/site/files/shop.toml /etc/superctl/shop.toml
if [ ! -d /root/clean ]; then
	install -d -m 755 -o shop -g shop /srv/shop
	for release in 1 2 3; do
		install -D -m 644 /root/site/files/serve.py "/srv/shop/releases/$release/serve.py"
	done
	systemctl start superctl@shop
	superctl --app shop switch 1 --json >/dev/null
	systemctl stop superctl@shop
	mkdir /root/clean.partial
	cp -a /srv/shop /var/lib/superctl /root/clean.partial
	mv /root/clean.partial /root/clean
	rm -rf /srv/shop /var/lib/superctl
fi
cp -a /root/clean/shop /srv
cp -a /root/clean/superctl /var/lib
chown -R shop:shop /srv/shop /var/lib/superctl/shop # the user may be another one
systemctl start superctl@shop
`

// Binds returns what hosts need for Reset.
func Binds(r *harness.Run, files string) ([]Bind, error) {
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"serve.py": server, "shop.toml": config} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return []Bind{
		{From: r.Binary, To: "/root/site/superctl"},
		{From: filepath.Join(sources(), "..", "..", "packaging"), To: "/root/site/packaging"},
		{From: files, To: "/root/site/files"},
		{From: r.Dir, To: shared},
	}, nil
}

// Reset puts all hosts back: release 1 is live, 2 and 3 are there, nothing is faulty. It does so
// before the test, whatever the test before left. If the test fails, it logs the hosts' journals.
func (f *Fleet) Reset(t harness.T) {
	t.Helper()
	t.Cleanup(func() { f.logJournals(t) })
	f.Each(t, func(h *Host) {
		h.Mend(t)
		h.Run(t, "bash", "-euc", restore).Want(0)
		h.first = h.Status(t).Generation
	})
}

func (f *Fleet) logJournals(t harness.T) {
	if !t.Failed() {
		return
	}
	for _, h := range f.Hosts {
		journal := h.Run(t, "journalctl", "--no-pager", "-o", "short-precise", "-n", "80").Wait()
		t.Logf("the journal of %s:\n%s", h.Name, journal.Text())
	}
}

// Bundle puts a bundle of the site into a directory, and returns its path. The first test that needs
// it builds it on this machine, and the others get a link.
func Bundle(t harness.T, r *harness.Run, into, version string) string {
	t.Helper()
	name := fmt.Sprintf("%s-%s.tar.zst", app, version)
	built, path := filepath.Join(r.Dir, name), filepath.Join(into, name)
	if _, err := os.Stat(built); err != nil {
		dir, err := os.MkdirTemp(r.Dir, "bundle")
		must(t, err)
		build(t, r, dir, version)
		must(t, os.Rename(filepath.Join(dir, name), built))
	}
	must(t, os.Link(built, path))
	return path
}

func build(t harness.T, r *harness.Run, into, version string) {
	t.Helper()
	project := filepath.Join(into, "project")
	must(t, os.MkdirAll(project, 0o755))
	for name, text := range map[string]string{
		"serve.py": server, "requirements.txt": "",
		"pyproject.toml": "[project]\nname = \"shop\"\nversion = \"0\"\n",
		"superctl.toml":  "[build]\nfiles = [\"serve.py\", \"requirements.txt\"]\nlock = \"requirements.txt\"\n",
	} {
		must(t, os.WriteFile(filepath.Join(project, name), []byte(text), 0o644))
	}
	python, err := filepath.EvalSymlinks(filepath.Join(r.Apps.Cache, "bin", "python"))
	must(t, err)
	if out, err := exec.Command(r.Binary, "build", "--name", app, "--version", version, "--python", python, "--output",
		into, project).CombinedOutput(); err != nil {
		t.Fatalf("superctl build: %v\n%s", err, out)
	}
}

// nginx is what the load balancer's config says: every failure reaches the client, because nginx
// neither tries another host nor leaves one out.
const nginx = `daemon off; pid %[1]s/lb/pid; error_log stderr notice; worker_processes 1; user root;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/lb/b; proxy_temp_path %[1]s/lb/p; fastcgi_temp_path %[1]s/lb/f;
	uwsgi_temp_path %[1]s/lb/u; scgi_temp_path %[1]s/lb/s;
	upstream shop { %[2]s }
	server { listen unix:%[1]s/lb/socket; location / { proxy_pass http://shop; proxy_next_upstream off; } }
}
`

// Load starts nginx in front of all hosts, and a load through it. Both end with the test.
func (f *Fleet) Load(t harness.T) *load.Run {
	t.Helper()
	dir := filepath.Join(f.Dir, "lb")
	must(t, os.RemoveAll(dir))
	must(t, os.Mkdir(dir, 0o755))
	upstream := ""
	for _, h := range f.Hosts {
		upstream += "server " + h.Address + ":8000 max_fails=0; "
	}
	must(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, nginx, f.Dir, upstream), 0o644))
	balancer := f.Operator(t, "nginx", "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
	balancer.Await("start worker process ") // the socket listens before nginx says so
	r, err := load.Start(load.Config{
		Network: "unix", Address: filepath.Join(dir, "socket"), Rate: 100, Clients: 8, Timeout: harness.Patience,
		Shapes: []load.Shape{load.Get("/")},
	})
	must(t, err)
	t.Cleanup(func() {
		r.Stop()
		balancer.Terminate()
	})
	return r
}
