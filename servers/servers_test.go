package servers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestEachServerGetsItsListenersAndDrainLimit(t *testing.T) {
	for _, tc := range []struct{ command, want string }{
		{"gunicorn -k gevent shop.wsgi", "gunicorn -k gevent shop.wsgi --graceful-timeout 40"},
		{
			"gunicorn -k uvicorn_worker.UvicornWorker shop.asgi",
			"gunicorn -k uvicorn_worker.UvicornWorker shop.asgi --graceful-timeout 40",
		},
		{"hypercorn shop.asgi", "hypercorn shop.asgi --bind fd://3 --bind fd://4 --graceful-timeout 27"},
		{
			"hypercorn --bind fd://{fd.web} --bind fd://4 --graceful-timeout 9 shop.asgi",
			"hypercorn --bind fd://{fd.web} --bind fd://4 --graceful-timeout 9 shop.asgi",
		},
		{
			"waitress-serve --threads 8 shop.wsgi:application",
			"python3 /run/b.py waitress --threads 8 shop.wsgi:application",
		},
		{"daphne shop.asgi:application", "python3 /run/b.py daphne shop.asgi:application"},
		{"daphne --fd {fd.web} shop.asgi:application", "python3 /run/b.py daphne --fd {fd.web} shop.asgi:application"},
		{"puma -C puma.rb", "puma -C puma.rb --bind-to-activated-sockets only"},
		{"bundle exec puma --bind-to-activated-sockets", "bundle exec puma --bind-to-activated-sockets"},
		{"node server.js --watch", "node server.js --watch"},
	} {
		a := Apply(Input{
			Command: strings.Fields(tc.command), Listen: []string{"web", "api"},
			Bridge: "/run/b.py", Drain: 30 * time.Second,
		})
		if got := strings.Join(a.Command, " "); got != tc.want || len(a.Problems) > 0 ||
			a.StopSignal != syscall.SIGTERM {
			t.Errorf("%s:\n got %s (%v, %v)\nwant %s", tc.command, got, a.StopSignal, a.Problems, tc.want)
		}
	}
}

func TestAServerWithOneListenerGetsIt(t *testing.T) {
	for command, want := range map[string]string{
		"granian --interface wsgi a:b":   "python3 /run/b.py granian --interface wsgi a:b",
		"python -m granian a:b":          "python /run/b.py granian a:b",
		"/srv/shop/venv/bin/granian a:b": "/srv/shop/venv/bin/python3 /run/b.py granian a:b",
		"newrelic-admin run-program granian a:b --workers 2": "newrelic-admin run-program python3 /run/b.py granian " +
			"a:b --workers 2",
		"python -m cheroot a --shutdown-timeout 3": "python -m cheroot a --shutdown-timeout 3",
		"cheroot a": "cheroot a --shutdown-timeout 40",
		"uvicorn a:b --workers 2 --limit-max-requests=1000 ": "uvicorn a:b --workers 2 --limit-max-requests=1000 " +
			"--fd 3 --timeout-graceful-shutdown 27",
		"granian a:b --workers-kill-timeout 20 --no-log": "python3 /run/b.py granian a:b --workers-kill-timeout " +
			"20 --no-log",
	} {
		in := Input{
			Command: strings.Fields(command), Listen: []string{"web"}, Unix: []string{""},
			Bridge: "/run/b.py", Drain: 30 * time.Second,
		}
		a := Apply(in)
		if got := strings.Join(a.Command, " "); got != want || len(a.Problems)+len(a.Warnings) > 0 {
			t.Errorf("%s:\n got %s (%v, %v)\nwant %s", command, got, a.Problems, a.Warnings, want)
		}
		in.Listen = append(in.Listen, "api")
		if a := Apply(in); len(a.Problems) != 1 || !strings.Contains(a.Problems[0], "takes one listener") {
			t.Errorf("%s with two listeners: %v", command, a.Problems)
		}
	}
}

func TestCherootGetsAUnixSocketAndStopsOnInterrupt(t *testing.T) {
	a := Apply(Input{
		Command: []string{"cheroot", "a"}, Listen: []string{"web"}, Unix: []string{"/run/web.sock"},
		Drain: 30 * time.Second,
	})
	if want := "cheroot a --bind /run/web.sock --shutdown-timeout 40"; strings.Join(a.Command, " ") != want ||
		a.StopSignal != syscall.SIGINT {
		t.Errorf("%v, stopped by %s", a.Command, a.StopSignal)
	}
}

func TestAnOptionThatBreaksASwitchIsAProblem(t *testing.T) {
	for _, tc := range []struct{ command, says string }{
		{"gunicorn --pid /run/g.pid a", "take out --pid: two generations"},
		{"gunicorn -p/run/g.pid a", "take out -p/run/g.pid: two generations"},
		{"gunicorn --reload -k gevent a", "take out --reload: superctl switch"},
		{"gunicorn --certfile x a", "TLS"},
		{"uvicorn --uds /tmp/s a", "take out --uds: superctl hands it"},
		{"uvicorn --host=0.0.0.0 a", "take out --host=0.0.0.0"},
		{"uvicorn --fd 7 a", "is not a listener of this process"},
		{"uwsgi --pidfile x", "take out --pidfile"},
		{"uwsgi --daemonize x", "take out --daemonize: superctl watches"},
		{"uwsgi --reuse-port", "past the gate"},
		{"uwsgi --http :80", "past the gate"},
		{"uwsgi --worker-reload-mercy 60", "longer than drain"},
		{"uwsgi --processes two", "--processes two: write a number of 1 or more: with 0 uWSGI starts no worker, and it takes a word or nothing for 0"},
		{"uwsgi --workers=", "uwsgi: --workers: write a number of 1 or more"},
		{"uwsgi -p 0", "-p 0: write a number of 1 or more"},
		{"hypercorn --bind 0.0.0.0:80 a", "take out --bind 0.0.0.0:80: superctl hands it"},
		{"hypercorn -b fd://9 a", "take out -b fd://9"},
		{"hypercorn --quic-bind :443 a", "past the gate"},
		{"hypercorn --insecure-bind :80 a", "past the gate"},
		{"hypercorn --reload a", "superctl switch"},
		{"hypercorn -D a", "superctl watches"},
		{"hypercorn --pid x a", "fight over the file"},
		{"hypercorn --keyfile x a", "TLS"},
		{"hypercorn --graceful-timeout 31 a", "longer than drain"},
		{"hypercorn --workers 4 a", "write instances = 4"},
		{"granian --port 80 a", "take out --port: superctl hands it"},
		{"granian --uds /tmp/s a", "take out --uds"},
		{"granian --reload a", "superctl switch"},
		{"granian --pid-file x a", "the second would refuse to start"},
		{"granian --ssl-keyfile x a", "TLS"},
		{"granian --workers-kill-timeout 40 a", "longer than drain"},
		{"waitress-serve --listen=*:80 a", "take out --listen=*:80: superctl hands it"},
		{"waitress-serve --port 80 a", "take out --port"},
		{"waitress-serve --unix-socket=/tmp/s a", "take out --unix-socket=/tmp/s"},
		{"daphne -b 0.0.0.0 -p 80 a", "take out -b: superctl hands it"},
		{"daphne -u /tmp/s a", "take out -u"},
		{"daphne -e ssl:443:privateKey=k a", "TLS"},
		{"timeout 60 daphne a", "does not find its listener"},
		{"cheroot --bind [::]:80 a", "take out --bind: superctl hands it"},
		{"cheroot --shutdown-timeout 31 a", "longer than drain"},
		{"puma -b tcp://0.0.0.0:80", "take out -b: superctl hands it"},
		{"puma -p 3000", "take out -p"},
		{"puma --control-url tcp://127.0.0.1:9293", "could not bind it"},
		{"puma --pidfile x", "fight over the file"},
		{"tini puma", "does not find its listener"},
		{"node --watch server.js", "take out --watch: superctl switch"},
		{"npm start", "write what its script runs"},
		{"pm2-runtime x", ""},
		{"nodemon server.js", "write node server.js"},
		{"python manage.py runserver", "Django's server for development"},
		{"fastapi run shop.py", "fastapi run takes no listener: write uvicorn MODULE:APP"},
		{"python -m flask run", "flask run takes no listener"},
		{"sh -c 'exec granian a'", "without the shell"},
	} {
		command := strings.Fields(tc.command)
		if command[0] == "sh" {
			command = []string{"sh", "-c", "exec granian a"}
		}
		a := Apply(Input{Command: command, Listen: []string{"web"}, Drain: 30 * time.Second})
		if said := strings.Join(a.Problems, "\n"); !strings.Contains(said, tc.says) || tc.says == "" && said != "" {
			t.Errorf("%s: %v", tc.command, a.Problems)
		}
	}
}

func TestAServerWithoutAListenerIsRefused(t *testing.T) {
	for _, server := range Servers() {
		a := Apply(Input{Command: []string{server, "a"}, Drain: time.Minute})
		refused := len(a.Problems) > 0 && strings.Contains(a.Problems[0], "has no listener")
		if free := slices.Contains([]string{generic, "node"}, server); refused == free {
			t.Errorf("%s: %v", server, a.Problems)
		}
	}
}

func TestOptionsInVariablesAreRead(t *testing.T) {
	for variable, says := range map[string]string{
		"UVICORN_PORT=80": "UVICORN_PORT: take out", "UVICORN_RELOAD=true": "UVICORN_RELOAD: take out",
		"UVICORN_RELOAD=false": "",
		"GRANIAN_HOST=0.0.0.0": "GRANIAN_HOST: take out", "GRANIAN_WORKERS=4": "",
		"GUNICORN_CMD_ARGS=--bind :80 --reload": "GUNICORN_CMD_ARGS: take out --reload",
	} {
		name, _, _ := strings.Cut(variable, "_")
		a := Apply(Input{
			Command: []string{strings.ToLower(name), "a"}, Listen: []string{"web"},
			Drain: time.Minute, Env: []string{variable},
		})
		if said := strings.Join(a.Problems, "\n"); !strings.Contains(said, says) || says == "" && said != "" {
			t.Errorf("%s: %v", variable, a.Problems)
		}
	}
}

func TestAServersConfigInTheReleaseIsRead(t *testing.T) {
	for _, tc := range []struct{ command, file, content, says string }{
		{
			"gunicorn a", "gunicorn.conf.py", "workers = 2\npidfile = '/run/g.pid'\n",
			"gunicorn.conf.py:2: take out --pid=/run/g.pid",
		},
		{"gunicorn -c x.py a", "x.py", "graceful_timeout = 90\n", "x.py:1: --graceful-timeout 90 is longer than drain"},
		{
			"hypercorn -c hypercorn.toml a", "hypercorn.toml", "bind = \"0.0.0.0:80\"\nuse_reloader = true\n",
			"hypercorn.toml:2: take out --reload=true",
		},
		{"hypercorn --config file:h.py a", "h.py", "use_reloader = False\n", ""},
		{
			"uwsgi --ini u.ini", "u.ini", "[uwsgi]\nhttp-socket = fd://3\ndie-on-term = true\n",
			"u.ini:3: take out --die-on-term=true",
		},
	} {
		release := t.TempDir()
		if err := os.WriteFile(filepath.Join(release, tc.file), []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		a := Apply(Input{
			Command: strings.Fields(tc.command), Release: release, Listen: []string{"web"},
			Drain: time.Minute,
		})
		if said := strings.Join(a.Problems, "\n"); !strings.Contains(said, tc.says) || tc.says == "" && said != "" {
			t.Errorf("%s: %v", tc.command, a.Problems)
		}
	}
}

func TestSurprisingOptionsAreWarnings(t *testing.T) {
	for command, says := range map[string]string{
		"uvicorn a --limit-max-requests 1000": "add --workers",
		"uwsgi --lazy-apps":                   "does not hear the stop signal",
		"granian a --metrics":                 "a scrape may meet either",
		"uv run granian a":                    "uv stays in front of granian",
		"uwsgi --http11-socket fd://3":        "--http-socket loses none",
		"opentelemetry-instrument gunicorn a": "keeps superctl's drain hook out of gunicorn",
	} {
		if a := apply(t, command, "web"); len(a.Problems) > 0 ||
			!strings.Contains(strings.Join(a.Warnings, "\n"), says) {
			t.Errorf("%s: %v %v", command, a.Problems, a.Warnings)
		}
	}
}
