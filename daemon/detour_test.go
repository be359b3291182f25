package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/config"
	"superctl/releases"
)

// site returns a directory with r1, which current points to, and r2 with these files.
func site(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{
		"releases/r1/venv/bin", "releases/r2/venv/bin", "releases/r2/venv/lib/python3.11/site-packages",
	} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("releases/r1", filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, "releases/r2", name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// detoursOf returns the detours of r2 with a config.
func detoursOf(t *testing.T, dir, tables string) []string {
	t.Helper()
	top := `app = "shop"
releases = "DIR/releases"
current = "DIR/current"
state = "DIR/state"
[listen.web]
address = "127.0.0.1:8000"
`
	c, err := config.Parse(filepath.Join(dir, "shop.toml"), []byte(strings.ReplaceAll(top+tables, "DIR", dir)))
	if err != nil {
		t.Fatal(err)
	}
	found, err := FindDetours(c, releases.Release{Name: "r2", Path: filepath.Join(dir, "releases/r2")})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func web(command string) string {
	return "[process.web]\nlisten = [\"web\"]\ncommand = '''" + command + "'''\n"
}

func TestAPathToAnotherReleaseIsRefusedWhereverItIs(t *testing.T) {
	const through = "leads through DIR/current, which is another release until the cutover"
	for name, c := range map[string]struct {
		files  map[string]string
		tables string
		says   []string
	}{
		"the program": {nil, web("DIR/current/venv/bin/gunicorn shop"), []string{
			"process.web.command", through, "write gunicorn:",
		}},
		"an interpreter": {nil, web("DIR/current/venv/bin/python -m gunicorn shop"), []string{
			through, "write python:",
		}},
		"a relative program": {nil, web("../r1/venv/bin/gunicorn shop"), []string{
			"leads into release r1", "write gunicorn:",
		}},
		"chdir": {nil, web("gunicorn --chdir DIR/current shop"), []string{
			"--chdir DIR/current " + through, "remove --chdir",
		}},
		"pythonpath": {nil, web("gunicorn --pythonpath=DIR/current shop"), []string{
			through, "remove --pythonpath",
		}},
		"uWSGI's %(x)": {
			map[string]string{"a.ini": "[uwsgi]\nbase = DIR\npythonpath = %(base)/current"},
			web("uwsgi --ini a.ini"),
			[]string{through, "a.ini:3 --pythonpath=%(base)/current leads", "remove --pythonpath:"},
		},
		"uWSGI's %d": {
			map[string]string{"a.ini": "[uwsgi]\nhome = %d../r1/venv"},
			web("uwsgi --ini a.ini"),
			[]string{"a.ini:2 --home=%d../r1/venv leads into release r1"},
		},
		"uWSGI's $(X)": {
			map[string]string{"a.ini": "[uwsgi]\nchdir = $(BASE)/current"},
			web("uwsgi --ini a.ini") + "env.BASE = \"DIR\"\n",
			[]string{through, "a.ini:2 --chdir=$(BASE)/current leads"},
		},
		"uWSGI's placeholder in the command": {
			nil, web("uwsgi --set-ph base=DIR --chdir %(base)/current"), []string{through, "%(base)/current leads", "remove --chdir"},
		},
		"a virtualenv": {nil, web("uwsgi --home DIR/current/venv"), []string{through, "write venv:"}},
		"a shell": {
			nil,
			"[process.web]\nlisten = [\"web\"]\ncommand = [\"sh\", \"-c\", \"cd DIR/current && exec gunicorn shop\"]\n",
			[]string{through},
		},
		"gunicorn.conf.py": {
			map[string]string{"gunicorn.conf.py": "workers = 2\nchdir = 'DIR/current'\n"},
			web("gunicorn shop"),
			[]string{"gunicorn.conf.py:2 " + through},
		},
		"a named config": {
			map[string]string{"conf.py": "import sys\nsys.path.insert(0, \"DIR/current\")"},
			web("gunicorn -c conf.py shop"),
			[]string{"conf.py:2"},
		},
		"a nested config": {
			map[string]string{"a.ini": "[uwsgi]\nini = b.ini", "b.ini": "[uwsgi]\n# DIR/current\nchdir = DIR/current"},
			web("uwsgi --ini a.ini"),
			[]string{"b.ini:3"},
		},
		"a script": {
			map[string]string{"run": "#!/bin/sh\nexec DIR/current/venv/bin/gunicorn"}, web("./run"), []string{"run:2"},
		},
		"[env]": {
			nil, web("gunicorn shop") + "[env]\nPYTHONPATH = \"/lib:DIR/current\"\n",
			[]string{"the variable PYTHONPATH (config) " + through},
		},
		"its own variables": {
			nil, web("gunicorn shop") + "[process.web.env]\nROOT = \"DIR/releases/r1/data\"\n",
			[]string{"the variable ROOT (process) leads into release r1"},
		},
		"a hook": {
			nil, web("gunicorn shop") + "[hooks]\nbefore = \"DIR/current/venv/bin/python manage.py migrate\"\n",
			[]string{"hooks.before", through},
		},
		"an editable": {
			map[string]string{"venv/lib/python3.11/site-packages/shop.pth": "DIR/releases/r1\n"},
			web("gunicorn shop"),
			[]string{"release r2: venv/lib/python3.11/site-packages/shop.pth leads into release r1", "without -e"},
		},
		"its interpreter": {
			map[string]string{"venv/pyvenv.cfg": "home = DIR/current/python/bin\n"},
			web("gunicorn shop"),
			[]string{"pyvenv.cfg:1"},
		},
		"the app's module": {
			map[string]string{"app.py": "import sys\nROOT = 'DIR/current'\nsys.path.insert(0, 'DIR/current')\n"},
			web("gunicorn app:app"),
			[]string{"process.web.command: app.py:3 " + through, "remove the line"},
		},
		"a script in Python": {
			map[string]string{"manage.py": "import site\nsite.addsitedir(\"DIR/releases/r1/lib\")\n"},
			web("python manage.py runserver"),
			[]string{"manage.py:2 leads into release r1"},
		},
		"a worker": {
			nil, web("gunicorn shop") + "[process.worker]\ncommand = \"celery --workdir DIR/current -A shop worker\"\n",
			[]string{"process.worker.command", "remove --workdir"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := site(t, c.files)
			said := strings.Join(detoursOf(t, dir, c.tables), "\n")
			for _, words := range c.says {
				if !strings.Contains(said, strings.ReplaceAll(words, "DIR", dir)) {
					t.Errorf("%q does not say %q", said, words)
				}
			}
		})
	}
}

// After a switch, clients would look for the socket in the new release.
func TestASocketInAReleaseIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ path, says string }{
		"through current":             {"DIR/current/web.sock", "leads through DIR/current, which is another release after each switch"},
		"in a release":                {"DIR/releases/r1/web.sock", "is in release r1"},
		"in the new release":          {"DIR/releases/r2/web.sock", "is in release r2"},
		"a link that r2 lacks":        {"DIR/current/only-r1/web.sock", "leads through DIR/current"},
		"a link that each has":        {"DIR/current/shared/web.sock", ""},
		"beside the releases":         {"DIR/web.sock", ""},
		"among them, in no release":   {"DIR/releases/run/web.sock", ""},
		"a directory that is missing": {"DIR/run/web.sock", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := site(t, nil)
			for _, link := range []string{"r1/only-r1", "r1/shared", "r2/shared"} {
				if err := os.Symlink(dir, filepath.Join(dir, "releases", link)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "releases/run"), 0o755); err != nil {
				t.Fatal(err)
			}
			found := strings.Join(detoursOf(t, dir, "[listen.sock]\naddress = \"unix:"+c.path+"\"\n"+web("gunicorn shop")), "\n")
			if c.says == "" && found != "" {
				t.Errorf("%q", found)
			}
			says := strings.ReplaceAll(c.says, "DIR", dir)
			if c.says != "" && (!strings.HasPrefix(found, "listen.sock.address: unix:") || !strings.Contains(found, says)) {
				t.Errorf("%q does not say %q", found, says)
			}
		})
	}
}

func TestAStateInAReleaseIsRefused(t *testing.T) {
	dir := site(t, nil)
	text := strings.ReplaceAll("app = \"shop\"\nreleases = \"DIR/releases\"\ncurrent = \"DIR/current\"\nstate = \"DIR/current/state\"\n"+
		"control = \"DIR/releases/r1/c.sock\"\nlog = \"DIR/releases/r1/log\"\n[process.a]\ncommand = \"sleep 1\"\n", "DIR", dir)
	c, err := config.Parse(filepath.Join(dir, "shop.toml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	found, err := FindDetours(c, releases.Release{})
	if err != nil || len(found) != 3 {
		t.Fatalf("%v %q", err, found)
	}
	for i, key := range []string{"state: ", "control: ", "log: "} {
		if !strings.HasPrefix(found[i], key) {
			t.Errorf("%q does not begin with %q", found[i], key)
		}
	}
}

func TestAVirtualenvOfAnotherReleaseIsRefused(t *testing.T) {
	dir := site(t, nil)
	if err := os.RemoveAll(filepath.Join(dir, "releases/r2/venv")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../r1/venv", filepath.Join(dir, "releases/r2/venv")); err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(detoursOf(t, dir, web("gunicorn shop")), "\n"); !strings.Contains(
		said, "releases/r2/venv leads into release r1",
	) {
		t.Errorf("%q", said)
	}
}

func TestPathsOfTheReleaseItselfAreNotRefused(t *testing.T) {
	dir := site(t, map[string]string{
		"gunicorn.conf.py": "# DIR/current is not looked at\nchdir = 'DIR/releases/r2'\n",
		"app.py":           "DOC = 'DIR/current'\n",
		"venv/pyvenv.cfg":  "home = /usr/bin\ncommand = /usr/bin/python3 -m venv DIR/releases/build/venv\n",
		"venv/lib/python3.11/site-packages/a.pth": "/usr/lib/python3\nimport x\n",
	})
	found := detoursOf(t, dir, web("DIR/releases/r2/venv/bin/gunicorn --chdir . --log-file DIR/log/web.log app:app")+
		"[env]\nDATA = \"DIR/shared\"\nURL = \"https://example.org/releases/r1\"\n[hooks]\nafter = \"./bin/after\"\n")
	if len(found) > 0 {
		t.Errorf("%q", found)
	}
}

func TestALinkIntoAnotherReleaseIsRefused(t *testing.T) {
	for to, want := range map[string]string{
		"../r1/app.py":   "the link app.py leads into release r1: copy the file",
		"DIR/current":    "the link app.py leads through DIR/current",
		"../../data.py":  "",
		"venv/pyvenv":    "",
		"/usr/lib/x":     "",
		"nothing/at/all": "",
	} {
		dir := site(t, nil)
		if err := os.Symlink(strings.ReplaceAll(to, "DIR", dir), filepath.Join(dir, "releases/r2/app.py")); err != nil {
			t.Fatal(err)
		}
		found := strings.Join(detoursOf(t, dir, web("gunicorn app:app")), "\n")
		if want = strings.ReplaceAll(want, "DIR", dir); want == "" && found != "" || !strings.Contains(found, want) {
			t.Errorf("%s: %q", to, found)
		}
	}
}

func TestADetourOfAllProcessesIsSaidOnce(t *testing.T) {
	dir := site(t, map[string]string{"run.sh": "cd DIR/current\n"})
	found := detoursOf(t, dir, web("sh run.sh")+"[process.worker]\ncommand = \"sh run.sh\"\n[env]\nPYTHONPATH = \"DIR/current\"\n")
	if len(found) != 2 || !strings.HasPrefix(found[0], "the environment: the variable PYTHONPATH") ||
		!strings.HasPrefix(found[1], "process.web.command: run.sh:1") {
		t.Errorf("%q", found)
	}
}

// A value may be a secret that holds a path.
func TestADetourShowsNoValueOfAVariable(t *testing.T) {
	dir := site(t, nil)
	found := detoursOf(t, dir, web("gunicorn shop")+"[env]\nDSN = \"file:DIR/current/db?key=canary\"\n")
	if len(found) == 0 || strings.Contains(strings.Join(found, "\n"), "canary") {
		t.Errorf("%q", found)
	}
}
