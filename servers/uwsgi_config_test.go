package servers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// withFiles completes a command in a release with these files.
func withFiles(t *testing.T, files map[string]string, command string) Applied {
	t.Helper()
	release := t.TempDir()
	for name, text := range files {
		path := filepath.Join(release, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Apply(Input{Command: strings.Fields(command), Listen: []string{"web"}, Release: release, Drain: time.Minute})
}

func TestASocketInANestedConfigIsFound(t *testing.T) {
	const socket = "/run/shop/app.sock"
	for name, c := range map[string]struct {
		files   map[string]string
		command string
		says    string
	}{
		"ini in ini": {
			map[string]string{
				"uwsgi.ini":  "[uwsgi]\nini = common.ini\n",
				"common.ini": "[uwsgi]\nhttp-socket = " + socket,
			},
			"uwsgi --ini uwsgi.ini",
			"common.ini:2: write --http-socket",
		},
		"three deep": {map[string]string{
			"a.ini": "[uwsgi]\ninclude=b.ini", "b.ini": "[uwsgi]\ninherit = c.ini",
			"c.ini": "[uwsgi]\nsocket=" + socket,
		}, "uwsgi a.ini", "c.ini:2: write --socket"},
		"yaml in ini": {
			map[string]string{
				"a.ini": "[uwsgi]\nyaml = b.yml",
				"b.yml": "uwsgi:\n  module: shop\n  http-socket: " + socket,
			},
			"uwsgi a.ini",
			"b.yml:3: write --http-socket",
		},
		"json": {
			map[string]string{"a.json": `{"uwsgi": {"socket": ["` + socket + `"]}}`},
			"uwsgi --json a.json", "a.json: write --socket",
		},
		"xml": {
			map[string]string{"a.xml": "<uwsgi>\n<master/>\n<socket>" + socket + "</socket></uwsgi>"},
			"uwsgi -x a.xml", "a.xml:3: write --socket",
		},
		"a section": {
			map[string]string{"a.ini": "[uwsgi]\nini = :live\n[live]\nsocket = " + socket, "b.ini": ""},
			"uwsgi --ini a.ini:live", "a.ini:4: write --socket",
		},
		"another section": {
			map[string]string{"a.ini": "[uwsgi]\nini = :base\n[base]\nsocket = " + socket},
			"uwsgi --ini a.ini", "a.ini:4: write --socket",
		},
		"a placeholder": {map[string]string{
			"a.ini":      "[uwsgi]\nhere = conf\nini = %(here)/b.ini",
			"conf/b.ini": "[uwsgi]\nsocket = " + socket,
		}, "uwsgi a.ini", "b.ini:2: write --socket"},
		"magic": {map[string]string{
			"conf/a.ini": "[uwsgi]\nini = %db.ini",
			"conf/b.ini": "[uwsgi]\nsocket = " + socket,
		}, "uwsgi --ini=conf/a.ini", "b.ini:2: write --socket"},
		"an emperor": {
			map[string]string{"a.ini": "[uwsgi]\nemperor = vassals"},
			"uwsgi a.ini",
			"a process of its own",
		},
		"a daemon": {
			map[string]string{"a.yaml": "uwsgi:\n  daemonize: /var/log/uwsgi.log"},
			"uwsgi --yaml a.yaml",
			"would end at once",
		},
		"none there": {
			map[string]string{"a.ini": "[uwsgi]\nini = b.ini"},
			"uwsgi a.ini",
			"a.ini:2: superctl cannot read b.ini",
		},
		"a URL": {
			map[string]string{"a.ini": "[uwsgi]\nini = http://config/b.ini"},
			"uwsgi a.ini",
			"a config by http://",
		},
		"another kind": {
			map[string]string{"a.ini": "[uwsgi]\nconfig = b.lua", "b.lua": ""},
			"uwsgi a.ini",
			"unknown config format",
		},
		"no yaml": {map[string]string{"a.yaml": "uwsgi: [secret"}, "uwsgi a.yaml", "it is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			a := withFiles(t, c.files, c.command)
			if said := strings.Join(a.Problems, "\n"); !strings.Contains(said, c.says) ||
				strings.Contains(said, "secret") {
				t.Errorf("%v", a.Problems)
			}
		})
	}
}

func TestNestedConfigsAreReadOnce(t *testing.T) {
	a := withFiles(t, map[string]string{
		"a.ini": "[uwsgi]\nini = b.ini\nhttp-socket = fd://3\nstats = /run/shop/stats.sock",
		"b.ini": "[uwsgi]\nini = a.ini\nmaster = true\nlisten-on = false\nreuse-port = false",
	}, "uwsgi --ini a.ini")
	if len(a.Problems) > 0 || len(a.Files) != 2 || strings.Contains(strings.Join(a.Command, " "), "--http-socket") ||
		strings.Contains(strings.Join(a.Command, " "), "--master") {
		t.Errorf("%+v", a)
	}
	if len(a.Opens) != 1 || a.Opens[0] != "unix:/run/shop/stats.sock" {
		t.Errorf("opens %v", a.Opens)
	}
}

func TestOptionsInUWSGIsEnvironmentAreRead(t *testing.T) {
	a := Apply(Input{
		Command: []string{"uwsgi"}, Listen: []string{"web"},
		Env: []string{"UWSGI_HTTP_SOCKET=:8000"}, Drain: time.Minute,
	})
	if !strings.Contains(strings.Join(a.Problems, "\n"),
		"UWSGI_HTTP_SOCKET: write --http-socket fd://3 instead of :8000") {
		t.Errorf("%v", a.Problems)
	}
}

// TestThePlaceholdersOfUWSGIAreReplacedAsItDoes has what uWSGI 2.0.31 shows with --show-config.
func TestThePlaceholdersOfUWSGIAreReplacedAsItDoes(t *testing.T) {
	ini := "[uwsgi]\nbase = /srv/x\nbase = /srv/second\nset-ph = p1=%(base)/p1\n" +
		"pythonpath = %(base) %(cmdph) %(pidx) %(undef) $(XENV) $(NOENV) %(later) %(p1) a%%b\nlater = 7\n" +
		"chdir = c=%c s=%s n=%n e=%e x=%x N=%N\n"
	release := t.TempDir()
	if err := os.Mkdir(filepath.Join(release, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(release, "conf", "x.conf.ini"), []byte(ini), 0o600); err != nil {
		t.Fatal(err)
	}
	a := Apply(Input{
		Command: strings.Fields("uwsgi --set-ph cmdph=/cmd --set=pidx=/pidx --ini conf/x.conf.ini --pp %(base)/%d"),
		Release: release, Listen: []string{"web"}, Drain: time.Minute, Env: []string{"XENV=secret"},
	})
	for written, want := range map[string]Setting{
		"--pythonpath=%(base) %(cmdph) %(pidx) %(undef) $(XENV) $(NOENV) %(later) %(p1) a%%b": {
			"x.conf.ini:5", "", "--pythonpath", "/srv/x /cmd /pidx %(undef) secret $(NOENV) 7 /srv/x/p1 a%b",
		},
		"--chdir=c=%c s=%s n=%n e=%e x=%x N=%N": {"x.conf.ini:7", "", "--chdir", "c=conf s=x.conf.ini n=x.conf e=ini x=uwsgi N=x.conf"},
		"%(base)/%d":                            {"", "", "--pp", "/srv/x/%d"},
	} {
		want.Written = written
		if !slices.Contains(a.Expanded, want) {
			t.Errorf("%+v\nhas no %+v", a.Expanded, want)
		}
	}
	if said := strings.Join(slices.Concat(a.Problems, a.Warnings), "\n"); strings.Contains(said, "secret") {
		t.Errorf("a variable is shown: %s", said)
	}
}

func TestPlaceholdersThatGrowAreNotReplacedForEver(t *testing.T) {
	refs := strings.Repeat("%(a)", 200)
	a := withFiles(t, map[string]string{"a.ini": "[uwsgi]\na = " + refs + "\nb = " + refs + "\n"}, "uwsgi a.ini")
	for _, s := range a.Expanded {
		if len(s.Value) > longest*longest {
			t.Errorf("%d bytes", len(s.Value))
		}
	}
}

func FuzzUWSGIConfig(f *testing.F) {
	f.Add("[uwsgi]\nini = a.ini\n", ".ini")
	f.Add("uwsgi:\n  a: [b, *c]\n", ".yaml")
	f.Add(`{"uwsgi": {"a": {"b": 1}}}`, ".json")
	f.Add("<uwsgi><a>b</a></uwsgi>", ".xml")
	f.Fuzz(func(t *testing.T, text, format string) {
		path := filepath.Join(t.TempDir(), "a.ini")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		settings, _ := readUWSGI(path, format, "")
		settingWords(path, uwsgiSection, settings, make(placeholders))
	})
}

func TestAConfigWithoutAWorkerIsAProblem(t *testing.T) {
	for text, want := range map[string]bool{
		"workers =": true, "workers": true, "processes = 0": true, "workers = off": true, "processes = two": true,
		"workers = 2": false, "processes = $(WORKERS)": false, "threads = 2": false,
	} {
		out := withFiles(t, map[string]string{"uwsgi.ini": "[uwsgi]\n" + text + "\n"}, "uwsgi --ini uwsgi.ini")
		got := slices.ContainsFunc(out.Problems, func(p string) bool {
			return strings.HasPrefix(p, "uwsgi.ini:2: --") && strings.Contains(p, ": write a number of 1 or more")
		})
		if got != want {
			t.Errorf("%s: %q", text, out.Problems)
		}
	}
	if out := withFiles(t, map[string]string{"u.yml": "uwsgi:\n  workers:\n"}, "uwsgi --yaml u.yml"); len(out.Problems) > 0 {
		t.Errorf("YAML without a value, which uWSGI ignores: %q", out.Problems)
	}
	for _, value := range []string{"", "0", "off"} {
		out := Apply(Input{
			Command: []string{"uwsgi"}, Listen: []string{"web"}, Drain: time.Minute, Env: []string{"UWSGI_WORKERS=" + value},
		})
		if len(out.Problems) != 1 || !strings.HasPrefix(out.Problems[0], "UWSGI_WORKERS: --workers") {
			t.Errorf("UWSGI_WORKERS=%q: %q", value, out.Problems)
		}
	}
}
