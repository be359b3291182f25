package servers

import (
	"strings"
	"testing"
	"time"

	"github.com/kballard/go-shellquote"
)

func applyLine(t *testing.T, line string, listen ...string) Applied {
	t.Helper()
	words, err := shellquote.Split(line)
	if err != nil {
		t.Fatal(err)
	}
	return Apply(Input{Command: words, Listen: listen, Drain: time.Minute, Single: true})
}

func TestACommandThatDetachesIsRefused(t *testing.T) {
	for line, says := range map[string]string{
		"celery multi start 4 -A shop":                         "write celery -A APP worker",
		"celery -A shop multi start w1":                        "write celery -A APP worker",
		"python -m celery multi start w1":                      "write celery -A APP worker",
		"celery -A shop worker --detach":                       "take out --detach",
		"celery -A shop worker -D":                             "take out -D",
		"celery -A shop worker --pidfile=/run/w.pid":           "take out --pidfile=/run/w.pid",
		"celery -A shop beat -s /x --pidfile /run/b.pid":       "take out --pidfile",
		"nohup python work.py":                                 "take out nohup: superctl gives no worker a terminal that could hang up, and nohup",
		"nohup gunicorn shop":                                  "take out nohup",
		"setsid gunicorn shop":                                 "take out setsid",
		"sh -c 'python work.py &'":                             "take out &",
		"sh -c 'nohup python work.py > log 2>&1 & exit 0'":     "take out &",
		"bash -lc 'python work.py & disown'":                   "take out &",
		"sh -c 'exec gunicorn --daemon shop'":                  "gunicorn --daemon",
		"env A=b sh -c 'python work.py &'":                     "take out &",
		"sh -c 'python work.py&'":                              "take out &",
		"sh -c '(python work.py &)'":                           "take out &",
		"sh -c 'if true; then python work.py & fi; exit 0'":    "take out &",
		"sh -c 'for i in 1 2; do python work.py $i & done'":    "take out &",
		`sh -c "cd /srv;true && nohup python work.py"`:         "take out nohup",
		`sh -c "test -e x||'celery' multi start w1"`:           "write celery -A APP worker",
		"supervisord -c supervisord.conf":                      "a [process.NAME] of its own",
		"/usr/bin/start-stop-daemon --start --background -x y": "write the program that it starts",
		"twistd web":                          "add --nodaemon",
		"redis-server --daemonize yes":        "take out --daemonize",
		"systemctl start shop":                "ExecStart=",
		"gunicorn -D shop":                    "take out -D",
		"gunicorn --daemon shop":              "take out --daemon",
		"uwsgi --daemonize /var/log/u.log":    "take out --daemonize",
		"uwsgi -d /var/log/u.log":             "take out -d",
		"hypercorn --daemon shop":             "take out --daemon",
		"env A=b nohup celery -A shop worker": "take out nohup",
	} {
		a := applyLine(t, line, "web")
		if strings.Contains(line, "celery") || strings.Contains(line, "work.py") {
			a = applyLine(t, line)
		}
		if said := strings.Join(a.Problems, "\n"); !strings.Contains(said, says) {
			t.Errorf("%s: %v", line, a.Problems)
		}
	}
}

func TestACommandInTheForegroundIsAccepted(t *testing.T) {
	for _, line := range []string{
		"python work.py", "celery -A shop worker", "celery -A shop worker --pidfile=",
		"sh -c 'python a.py && exec python b.py'", "sh -c 'a & exec b'", "sh -c 'a & b & wait'",
		"sh -c 'exec python work.py 2>&1'", `sh -c "echo 'done &'; exec python work.py"`,
		"sh -c 'for i in 1 2; do python work.py $i & done; wait'", "sh -c '(cd x; a &); exec b'",
		`sh -c "echo nohup; exec python work.py # then &"`, `sh -c 'exec python work.py "$(nohup true)"'`, "supervisord -n", "twistd --nodaemon web", "python manage.py service",
		"redis-server --daemonize=no", "python -m daemonic", "setsid -w x",
		"dramatiq shop.tasks --path docker", "celery -A multi.app worker",
	} {
		if a := applyLine(t, line); len(a.Problems) > 0 {
			t.Errorf("%s: %v", line, a.Problems)
		}
	}
}

func TestAScriptThatNoShellUnderstandsIsWarnedOf(t *testing.T) {
	a := applyLine(t, `sh -c "python work.py 'x"`)
	if said := strings.Join(a.Warnings, "\n"); len(a.Problems) > 0 || !strings.Contains(said, "without closing quote") {
		t.Errorf("%q, %q", a.Problems, said)
	}
}
