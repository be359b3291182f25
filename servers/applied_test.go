package servers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func apply(t *testing.T, command string, listen ...string) Applied {
	t.Helper()
	return Apply(Input{Command: strings.Fields(command), Listen: listen, Drain: 30 * time.Second})
}

func TestACommandIsCompleted(t *testing.T) {
	for _, tc := range []struct{ command, want, protocol string }{
		{"gunicorn --workers 4 shop.wsgi", "gunicorn --workers 4 shop.wsgi --graceful-timeout 40", "http"},
		{
			"venv/bin/python -m gunicorn shop.wsgi", "venv/bin/python -m gunicorn shop.wsgi --graceful-timeout 40",
			"http",
		},
		{
			"newrelic-admin run-program gunicorn shop.wsgi --graceful-timeout=5",
			"newrelic-admin run-program gunicorn shop.wsgi --graceful-timeout=5", "http",
		},
		{
			"uvicorn shop.asgi:application", "uvicorn shop.asgi:application --fd 3 --timeout-graceful-shutdown 27",
			"http",
		},
		{
			"uvicorn shop.asgi:application --fd {fd.web}",
			"uvicorn shop.asgi:application --fd {fd.web} --timeout-graceful-shutdown 27", "http",
		},
		{
			"uwsgi --module shop.wsgi",
			"uwsgi --module shop.wsgi --http-socket fd://3 --add-header Connection: close --hook-master-start " +
				"unix_signal:15 gracefully_kill_them_all --master --need-app --worker-reload-mercy 40", "http",
		},
		{
			"uwsgi --master --need-app --socket fd://{fd.web}",
			"uwsgi --master --need-app --socket fd://{fd.web} --hook-master-start unix_signal:15 " +
				"gracefully_kill_them_all --worker-reload-mercy 40", "uwsgi",
		},
		{"./serve --bind x", "./serve --bind x", "http"},
	} {
		a := apply(t, tc.command, "web")
		if got := strings.Join(a.Command, " "); got != tc.want || a.Protocol != tc.protocol || len(a.Problems) > 0 {
			t.Errorf("%s:\n got %s (%s, %v)\nwant %s", tc.command, got, a.Protocol, a.Problems, tc.want)
		}
	}
}

func TestAnOptionThatDefeatsTheGateIsAProblem(t *testing.T) {
	for command, says := range map[string]string{
		"gunicorn -b 0.0.0.0:80 a":                            "take out ",
		"gunicorn -b0.0.0.0:80 a":                             "take out ",
		"gunicorn --bind=x a":                                 "take out ",
		"gunicorn --daemon a":                                 "superctl watches",
		"gunicorn --reuse-port a":                             "past the gate",
		"gunicorn --graceful-timeout 60 a":                    "longer than drain",
		"uvicorn --port 80 a":                                 "take out --port",
		"uvicorn --reload a":                                  "superctl reload",
		"uwsgi --http-socket fd://3 --die-on-term":            "cut requests",
		"uwsgi --socket /tmp/s":                               "fd://{fd.web}",
		"uvicorn --timeout-graceful-shutdown=31 --fd 3 a:app": "longer than drain",
	} {
		if a := apply(t, command, "web"); !strings.Contains(strings.Join(a.Problems, "\n"), says) {
			t.Errorf("%s: %v", command, a.Problems)
		}
	}
}

func TestGunicornsControlSocketIsSwitchedOff(t *testing.T) {
	for version, want := range map[string]bool{"20.1.0": false, "25.0.3": false, "25.1.0": true, "27.0.1": true} {
		release := t.TempDir()
		info := filepath.Join(release, "venv/lib/python3.11/site-packages", "gunicorn-"+version+".dist-info")
		if err := os.MkdirAll(info, 0o755); err != nil {
			t.Fatal(err)
		}
		a := Apply(Input{Command: []string{"gunicorn", "a"}, Release: release, Drain: time.Minute})
		if got := strings.Contains(strings.Join(a.Command, " "), "--no-control-socket"); got != want {
			t.Errorf("%s: %v", version, a.Command)
		}
	}
}

func TestCeleryMistakesAreWarnings(t *testing.T) {
	const kept = " --schedule /var/lib/shop/schedule"
	for _, tc := range []struct {
		command string
		single  bool
		says    string // "" = no warning
	}{
		{"celery -A shop worker --loglevel INFO", false, ""},
		{"python -m celery --app shop beat" + kept, true, ""},
		{"celery -A shop beat -S django_celery_beat.schedulers:DatabaseScheduler", true, ""},
		{"celery -A shop beat" + kept, false, `strategy = "single"`},
		{"celery -A shop worker -B", false, "a process of its own"},
		{"celery -A shop worker --beat", false, "a process of its own"},
		{"celery -A shop beat --pidfile= " + kept, true, ""},
		{"python -m celery -A shop beat", true, "in the release's directory"},
		{"celery -A shop beat -s celerybeat-schedule", true, "an absolute path"},
		{"celery -A worker beat --schedule=/var/lib/shop/schedule", false, `strategy = "single"`},
		{"celery -A shop flower", false, ""},
	} {
		a := Apply(Input{Command: strings.Fields(tc.command), Drain: time.Minute, Single: tc.single})
		if said := strings.Join(a.Warnings, "\n"); !strings.Contains(said, tc.says) || tc.says == "" && said != "" ||
			len(a.Problems) > 0 {
			t.Errorf("%s: %v %v", tc.command, a.Warnings, a.Problems)
		}
	}
	if a := apply(t, "celery -A shop worker --detach"); len(a.Problems) != 1 {
		t.Errorf("--detach: %v", a.Problems)
	}
}

func TestTheKeepAliveOfServersWithTheDrainHookIsKnown(t *testing.T) {
	release := t.TempDir()
	if err := os.WriteFile(filepath.Join(release, "gunicorn.conf.py"), []byte("keepalive = 65\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		command, release string
		env              []string
		keeps            time.Duration
		hook             bool
	}{
		{command: "gunicorn shop.wsgi", keeps: 2 * time.Second, hook: true},
		{command: "gunicorn --keep-alive 75 shop.wsgi", keeps: 75 * time.Second, hook: true},
		{command: "gunicorn shop.wsgi", release: release, keeps: 65 * time.Second, hook: true},
		{command: "gunicorn --keep-alive=7 shop.wsgi", release: release, keeps: 7 * time.Second, hook: true},
		{
			command: "gunicorn shop.wsgi", env: []string{"GUNICORN_CMD_ARGS=--keep-alive 9"}, release: release,
			keeps: 9 * time.Second, hook: true,
		},
		{command: "gunicorn --keep-alive many shop.wsgi", keeps: 2 * time.Second, hook: true},
		{command: "uvicorn shop.asgi:application", keeps: 5 * time.Second, hook: true},
		{command: "uvicorn --timeout-keep-alive 20 shop.asgi:application", keeps: 20 * time.Second, hook: true},
		{
			command: "uvicorn shop.asgi:application", env: []string{"UVICORN_TIMEOUT_KEEP_ALIVE=30"},
			keeps: 30 * time.Second, hook: true,
		},
		{command: "hypercorn shop.asgi", keeps: 5 * time.Second, hook: true},
		{command: "hypercorn --keep-alive 8 shop.asgi", keeps: 8 * time.Second, hook: true},
		{command: "waitress-serve shop.wsgi", keeps: 2 * time.Minute, hook: true},
		{command: "waitress-serve --channel-timeout=10 shop.wsgi", keeps: 10 * time.Second, hook: true},
		{command: "cheroot shop.wsgi", keeps: 10 * time.Second, hook: true},
		{command: "python -m cheroot shop.wsgi --timeout 3", keeps: 3 * time.Second, hook: true},
		{command: "daphne shop.asgi:application", keeps: time.Minute, hook: true},
		{command: "granian shop.wsgi", keeps: 30 * time.Second, hook: true},
		{command: "granian --http1-header-read-timeout=1500 shop.wsgi", keeps: 1500 * time.Millisecond, hook: true},
		{
			command: "granian shop.wsgi", env: []string{"GRANIAN_HTTP1_HEADER_READ_TIMEOUT=2000"},
			keeps: 2 * time.Second,
			hook:  true,
		},
		{command: "uwsgi --module shop.wsgi"},
		{command: "./serve"},
	} {
		a := Apply(Input{
			Command: strings.Fields(tc.command), Listen: []string{"web"}, Drain: 90 * time.Second,
			Env: tc.env, Release: tc.release,
		})
		if a.Hook != tc.hook || a.KeepAlive != tc.keeps {
			t.Errorf("%s %v: hook %v, %s", tc.command, tc.env, a.Hook, a.KeepAlive)
		}
	}
}

func TestUWSGICutsResponsesUnlessConnectionsAreKept(t *testing.T) {
	for command, cuts := range map[string]bool{
		"uwsgi --module shop.wsgi":          true,
		"uwsgi --socket fd://3":             true,
		"uwsgi --http11-socket fd://3":      false,
		"gunicorn shop.wsgi":                false,
		"uvicorn shop.asgi:application":     false,
		"uwsgi --http-socket fd://{fd.web}": true,
	} {
		if a := Apply(Input{
			Command: strings.Fields(command), Listen: []string{"web"}, Drain: time.Minute,
		}); a.Cuts != cuts {
			t.Errorf("%s: %v", command, a.Cuts)
		}
	}
}
