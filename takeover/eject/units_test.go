package eject

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func shop() *Site {
	return &Site{
		Name: "shop", App: "shop", Dir: "/srv/shop/current", Bin: "/srv/shop/current/venv/bin",
		Listen: Listen{Address: "unix:/run/shop/50%.sock", Path: "/run/shop/50%.sock", Backlog: 64, Mode: 0o660, Group: "www-data"},
		Env:    []string{`SECRET=a"b$c`},
		Programs: []Program{
			{Name: "web", Command: []string{"/venv/bin/hypercorn", "--bind", "fd://3"}, User: "shop", Drain: 10 * time.Second, NoListenFDs: true},
			{Name: "worker", Command: []string{"celery", "worker", "-n", "w{instance}@%h", `%(a)s "$b" \`}, User: "jobs", Copies: 2, Signal: "SIGQUIT"},
			{
				Name: "beat", Command: []string{"celery", "beat"}, Copies: 1, After: []string{"worker"}, Env: []string{"QUEUE=b"},
				Group: "beats", NoFile: 99, MemoryMax: 1 << 20, CPUWeight: 50,
			},
		},
	}
}

func TestTheUnitsSayWhatSuperctlDid(t *testing.T) {
	got := map[string]string{}
	for _, f := range shop().Files() {
		got[f.Path] = f.Content
		if !strings.HasPrefix(f.Content, Header) {
			t.Errorf("%s does not say who wrote it", f.Path)
		}
		if f.Secret != strings.HasSuffix(f.Path, ".env") || f.Secret && strings.Contains(f.Shown, `a"`) {
			t.Errorf("%s shows %s", f.Path, f.Shown)
		}
	}
	const units = "/etc/systemd/system/"
	want := map[string][]string{
		"/etc/superctl/shop.eject.env":      {`SECRET="a\"b\$c"`},
		"/etc/superctl/shop-beat.eject.env": {`QUEUE="b"`},
		units + "shop.socket":               {"ListenStream=/run/shop/50%%.sock", "SocketMode=0660", "SocketGroup=www-data", "Backlog=64"},
		units + "shop.service": {
			"Requires=shop.socket", "User=shop", "WorkingDirectory=/srv/shop/current", "EnvironmentFile=/etc/superctl/shop.eject.env",
			"UnsetEnvironment=LISTEN_FDS LISTEN_PID LISTEN_FDNAMES", "ExecStart=/venv/bin/hypercorn --bind fd://3", "TimeoutStopSec=15",
			"After=network-online.target",
		},
		units + "shop-worker@.service": {
			`ExecStart=celery worker -n w%i@%%h "%%(a)s \"$$b\" \\"`, "User=jobs", "KillSignal=SIGQUIT", "Conflicts=superctl@shop.service",
			"After=network-online.target superctl@shop.service",
		},
		units + "shop-beat.service": {
			"After=network-online.target superctl@shop.service shop-worker@0.service shop-worker@1.service", "Group=beats",
			"EnvironmentFile=/etc/superctl/shop-beat.eject.env", "LimitNOFILE=99", "MemoryMax=1048576", "CPUWeight=50",
		},
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the files are %q", names)
	}
	for path, lines := range want {
		for _, line := range lines {
			if !slices.Contains(strings.Split(got[path], "\n"), line) {
				t.Errorf("%s has no line %q:\n%s", path, line, got[path])
			}
		}
	}
	if strings.Contains(got[units+"shop.service"], "Conflicts=") {
		t.Error("the web server cannot run next to superctl, which it replaces")
	}
}

func TestAPortIsSharedWithSuperctl(t *testing.T) {
	s := shop()
	s.Listen = Listen{Address: "[::1]:8000", Backlog: 64, Mode: 0o666, Owner: "shop"}
	if got := s.socketText(); !strings.Contains(got, "ListenStream=[::1]:8000\nReusePort=yes\nBacklog=64\n") ||
		strings.Contains(got, "SocketMode") {
		t.Errorf("the socket unit is\n%s", got)
	}
}
