package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// The limit is a minute; the tests need some seconds.
const slowStart = `start_timeout = "60s"`

func TestAServerThatListensElsewhereIsRefusedWithTheOption(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		files   map[string]string // of the release
		says    []string
	}{
		"a wrapper that stays": {
			command: "python wrap.py gunicorn bare.wsgi:application",
			files:   map[string]string{"wrap.py": "import subprocess, sys\nsys.exit(subprocess.call(sys.argv[1:]))\n"},
			says:    []string{"listens on 127.0.0.1:8000", "wrap.py starts gunicorn as a child"},
		},
		"a wrapper that adds an option": {
			command: "python wrap.py bare.wsgi:application",
			files:   map[string]string{"wrap.py": "import os, sys\nos.environ.pop('LISTEN_FDS')\nos.execvp('gunicorn', ['gunicorn', '--bind', '127.0.0.1:0', *sys.argv[1:]])\n"},
			says:    []string{"listens on 127.0.0.1:", "not on the listener that superctl passed to it"},
		},
		"a unix socket": {
			command: "python serve.py",
			files: map[string]string{"serve.py": "import os, socket, time\npath = os.environ['TMPDIR'] + '/app.sock'\ns = socket.socket(socket.AF_UNIX)\ns.bind(path)\ns.listen()\nos.chmod(path, 0o666)\n" +
				"time.sleep(600)\n"},
			says: []string{"listens on unix:", "app.sock", "LISTEN_FDS"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Web: slowStart})
			a.Releases("good", "bad")
			for file, text := range c.files {
				a.WriteFile("releases/bad/"+file, text)
			}
			a.Start("good")
			a.Options.Server.Command = c.command
			a.WriteConfig()
			refused := a.Command("switch", "bad").Want(1)
			refused.Says(c.says...)
			if strings.Contains(refused.Text(), "within 60s") {
				t.Errorf("it was refused by its time limit:\n%s", refused.Text())
			}
			_ = os.Remove(a.Path("tmp", "app.sock"))
			a.Command("check", "bad").Want(1).Says(c.says...)
			_ = os.Remove(a.Path("tmp", "app.sock"))
		})
	}
}

// The release answers correctly, so only its sockets show what it does.
func TestAReleaseThatBindsTheAppsOwnPortIsRefused(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("good")
	a.Release("bad", apps.Behaviour{})
	host, port, _ := strings.Cut(a.Address, ":")
	settings, err := os.ReadFile(a.Path("releases/bad/bare/wsgi.py"))
	if err != nil {
		t.Fatal(err)
	}
	bind := "import socket\nstray = socket.socket()\nstray.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\nstray.bind(('" +
		host + "', " + port + "))\nstray.listen()\n"
	a.WriteFile("releases/bad/bare/wsgi.py", bind+string(settings))
	a.Start("good")
	a.Command("switch", "bad").Want(1).Says("listens on "+a.Address+" with its own socket", "bypass the gate")
	requests := a.Load(requestsOfAFewUsers())
	a.More(requests, 10)
	a.Lossless(requests)
}

func TestAnExtraListenerIsAllowedByName(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("good", "metrics")
	settings, err := os.ReadFile(a.Path("releases/metrics/bare/wsgi.py"))
	if err != nil {
		t.Fatal(err)
	}
	a.WriteFile(
		"releases/metrics/bare/wsgi.py",
		"import socket\nmetrics = socket.create_server(('127.0.0.3', 0))\n"+string(settings),
	)
	a.Start("good")
	a.Command("switch", "metrics").Want(1).Says(
		"listens on 127.0.0.3:", "as well as on the listener that superctl passed to it", "extra_listen = [",
	)
	a.Options.Web = `extra_listen = ["127.0.0.3:*"]`
	a.WriteConfig()
	a.Command("switch", "metrics").Want(0)
}

func TestAWorkerThatRunsFromAnotherReleaseIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrap string // a program that becomes the server
		says []string
	}{
		"its directory": {"os.chdir('CURRENT'); os.execvp('gunicorn', ['gunicorn', *sys.argv[1:]])", []string{
			"runs from release good", "working directory",
		}},
		"its virtualenv": {"os.execv('CURRENT/venv/bin/gunicorn', ['gunicorn', *sys.argv[1:]])", []string{
			"runs from release good", "argument",
		}},
		"its variables": {
			"os.environ['PYTHONPATH'] = 'CURRENT:' + os.environ.get('PYTHONPATH', ''); os.execvp('gunicorn', ['gunicorn', *sys.argv[1:]])",
			[]string{"runs from release good", "PYTHONPATH"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{})
			a.Releases("good", "bad")
			a.WriteFile("releases/bad/wrap.py", "import os, sys\nreleases = os.path.dirname(os.getcwd())\n"+
				strings.ReplaceAll(c.wrap, "'CURRENT", "os.path.dirname(releases) + '/current")+"\n")
			a.Start("good")
			a.Options.Server.Command = "python wrap.py bare.wsgi:application"
			a.WriteConfig()
			a.Command("switch", "bad").Want(1).Says(c.says...)
		})
	}
}

func TestACommandThroughCurrentIsRefusedByCheckAndSwitch(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	a.Options.Server.Command = a.Path("current/venv/bin/gunicorn") + " --chdir " + a.Path("current") +
		" bare.wsgi:application"
	a.WriteConfig()
	says := []string{"leads through " + a.Path("current"), "write gunicorn:", "remove --chdir"}
	a.Command("check").Says(says...)
	a.Command("check", "r2").Want(1).Says(says...)
	a.Command("switch", "r2").Want(1).Says(says...)
	a.Command("reload").Want(1).Says(says...)
	// A daemon that starts still serves: at that moment the link leads to this release.
	a.Daemon.Kill()
	a.Start("")
	requests := a.Load(requestsOfAFewUsers())
	a.Lossless(requests)
}

// moveCurrent moves the current link like Ansible's deploy_helper and Capistrano.
func moveCurrent(t *testing.T, a *harness.App, to string) {
	t.Helper()
	if err := os.Remove(a.Path("current")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("releases/"+to, a.Path("current")); err != nil {
		t.Fatal(err)
	}
}

func TestALinkMovedByADeployToolIsRestored(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("good")
	a.Release("bad", apps.Behaviour{Fault: apps.ExitsAtOnce})
	a.Start("good")
	leads := func(to string) {
		t.Helper()
		if at, err := filepath.EvalSymlinks(a.Path("current")); err != nil || filepath.Base(at) != to {
			t.Errorf("current leads to %s (%v)", at, err)
		}
	}
	moveCurrent(t, a, "bad")
	a.Command("status").Says("it was moved to releases/bad, and good is live")
	a.Command("check").Want(1).Says("the current link points to releases/bad")
	a.Command("switch", "bad").Want(1).Says("had been moved to releases/bad; it leads to good again")
	leads("good")
	moveCurrent(t, a, "bad")
	a.Command("switch", "good").Want(0).Says("it leads to good again")
	leads("good")
}

func TestStatusReportsARemovedLiveRelease(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	a.Command("switch", "r2").Want(0)
	python := a.Path("releases/r2/venv/bin/python")
	if err := os.Remove(python); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/no/such/python", python); err != nil {
		t.Fatal(err)
	}
	if st := a.Status(); st.Health != "degraded" {
		t.Errorf("health %s", st.Health)
	}
	a.Command("check").Want(1).Says("/no/such/python")
	for _, release := range []string{"r1", "r2"} {
		if err := os.RemoveAll(a.Path("releases", release)); err != nil {
			t.Fatal(err)
		}
	}
	a.Command("status").Says("degraded", "r2 no longer exists", "r1 no longer exists")
	a.Command("check").Want(1).Says("r2 no longer exists", "r1 no longer exists")
}

// cp shop.toml staging.toml, and all was changed in it but `control`.
func TestACopiedConfigDoesNotReachTheOriginalsDaemon(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("")
	config, err := os.ReadFile(a.Config)
	if err != nil {
		t.Fatal(err)
	}
	copied := strings.Replace(string(config), `app = "`+a.Name+`"`, `app = "staging"`, 1)
	a.WriteFile("copied.toml", copied)
	other := `the daemon of the app "` + a.Name + `" answers there, and not that of "staging"`
	a.Command("--config", a.Path("copied.toml"), "switch", "r1").Want(3).Says(other)
	a.Command("--config", a.Path("copied.toml"), "status").Want(3).Says(other)
	a.Command("--config", a.Path("copied.toml"), "check").Want(1).Says("FAIL  control socket "+a.Control(), other)
	if st := a.Status(); st.Release != "" {
		t.Errorf("%s is live in the original", st.Release)
	}
}
